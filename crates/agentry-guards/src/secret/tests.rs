use std::sync::LazyLock;

use super::*;

fn secrets() -> &'static Secrets {
    static SECRETS: LazyLock<Secrets> = LazyLock::new(|| Secrets::new().unwrap());
    &SECRETS
}

/// Letters and digits as a vendor might draw them. Keys are put together here, so that none stands in this file.
fn body(len: usize) -> String {
    "x7Kp2QvLm9Zr4TnW8bYc3HsJ6dFgR5tVuA1eNqDkP0".chars().cycle().take(len).collect()
}

fn hex(len: usize) -> String {
    "3f9a7c1e5b2d8046af".chars().cycle().take(len).collect()
}

#[track_caller]
fn check(text: &str, rule: &str, expected: &str) {
    let mut found = Vec::new();
    secrets().find(Hay(text.as_bytes()), 0, &mut found);
    found.sort_by_key(|one| (one.start, std::cmp::Reverse(one.end)));
    let found: Vec<(&str, &str)> =
        found.iter().map(|one| (name(one.rule), &text[one.start..one.end])).collect();
    assert!(found.contains(&(rule, expected)), "{rule} in {text}: {found:?}");
}

#[track_caller]
fn nothing(text: &str) {
    let mut found = Vec::new();
    secrets().find(Hay(text.as_bytes()), 0, &mut found);
    assert!(found.is_empty(), "{text}: {found:?}");
}

#[test]
fn keys_of_vendors_are_found_by_their_shape() {
    let upper = "Q3Z7MK2XWLP5TRN4";
    let keys = [
        ("openai", format!("sk-{}-{}", "proj", body(48))),
        ("openai", format!("sk-{}", body(48))),
        ("anthropic", format!("sk-ant-{}-{}", "api03", body(80))),
        ("openrouter", format!("sk-or-v1-{}", hex(64))),
        ("aws_access_key", format!("{}{upper}", "AKIA")),
        ("github", format!("{}_{}", "ghp", body(36))),
        ("github", format!("github_pat_{}", body(60))),
        ("gitlab", format!("{}-{}", "glpat", body(20))),
        ("google", format!("{}{}", "AIza", body(35))),
        ("google_oauth", format!("{}-{}", "GOCSPX", body(28))),
        ("slack", format!("{}-123456789012-{}", "xoxb", body(24))),
        ("stripe", format!("{}_live_{}", "sk", body(24))),
        ("stripe_webhook", format!("{}_{}", "whsec", body(32))),
        ("sendgrid", format!("{}.{}.{}", "SG", body(22), body(43))),
        ("npm", format!("{}_{}", "npm", body(36))),
        ("huggingface", format!("{}_{}", "hf", body(34))),
        ("groq", format!("{}_{}", "gsk", body(52))),
        ("databricks", format!("{}{}", "dapi", hex(32))),
        ("shopify", format!("{}_{}", "shpat", hex(32))),
        ("jwt", format!("{}{}.{}{}.{}", "ey", "Jhb12345678", "ey", "Jzd12345678", body(43))),
    ];
    for (rule, key) in keys {
        check(&format!("here is {key} for you"), rule, &key);
        check(&format!("KEY=\"{key}\"\n"), rule, &key);
        nothing(&format!("cut to {}", &key[..key.len().min(12)]));
    }
}

#[test]
fn a_block_with_a_private_key_is_found_whole() {
    for kind in ["", "RSA ", "OPENSSH ", "EC "] {
        let begin = format!("-----BEGIN {kind}PRIVATE KEY-----");
        let end = format!("-----END {kind}PRIVATE KEY-----");
        let block = format!("{begin}\n{}\n{}\nabc=\n{end}", body(64), body(64));
        check(&format!("take this:\n{block}\nthanks"), "private_key", &block);
        let one_line = block.replace('\n', "\\n");
        check(&format!("{{\"key\": \"{one_line}\"}}"), "private_key", &one_line);
        let open = format!("{begin}\n{}", body(64));
        check(&format!("{open}\n...cut off"), "private_key", &open);
    }
    nothing("-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----");
}

#[test]
fn what_is_assigned_and_looks_random_is_found() {
    check("API_KEY=x7Kp2QvLm9Zr4TnW8b", "assigned", "x7Kp2QvLm9Zr4TnW8b");
    check("  secret: 'x7Kp2QvLm9Zr4TnW8b',", "assigned", "x7Kp2QvLm9Zr4TnW8b");
    check("{\"access_token\": \"3f9a7c1e5b2d8046af11\"}", "assigned", "3f9a7c1e5b2d8046af11");
    check("password = Tr4verse-Oak9", "assigned", "Tr4verse-Oak9");
    check("postgres://app:k7Qp2vXw9Z@db/main", "login", "k7Qp2vXw9Z");
}

#[test]
fn placeholders_names_and_prose_are_no_secrets() {
    for text in [
        "API_KEY=your-api-key-here-12345",
        "token: ${ACCESS_TOKEN}",
        "secret = os.environ['APP_SECRET_1234567']",
        "password: ********",
        "the key to success: perseverance2024",
        "key: some/path/to/file_number_12.txt",
        "idempotency_key = 550e8400-e29b-41d4-a716-446655440000",
        "primary_key: user_account_identifier_1",
        "tokens: 12345678901234567890",
        "passwords should have eight letters",
        "http://localhost:8080/path@2x",
        "monkey: banana",
        "max_tokens=4096, keyboard: qwertz",
        "sk-learn is a library",
        "eyJ is how they begin",
    ] {
        nothing(text);
    }
    nothing(&format!("{}IOSFODNN7EXAMPLE", "AKIA"));
}
