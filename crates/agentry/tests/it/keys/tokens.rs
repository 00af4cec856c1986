//! Tokens that others issue.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::{ANSWERS, by, chat, told};
use crate::support::{Running, get};

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
[storage]
url = "memory:"
[auth]
pseudonyms = "file:pseudonyms.key"
[auth.jwt.corp]
issuer = "https://login.example.com/"
audience = "agentry"
keys = "file:jwks.json"
algorithms = ["EdDSA"]
tenant_claim = "org"
scopes_claim = "scope"
scopes = ["llm:*", "admin"]
[providers.script]
kind = "scripted"
script = "answers.toml"
[models.fast]
targets = ["script/tortoise"]
"#;

struct Issuer(Ed25519KeyPair);

impl Issuer {
    fn new() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    fn jwks(&self, id: &str) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x }] })
    }

    fn token(&self, id: &str, changes: &Value) -> String {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let mut claims = json!({
            "iss": "https://login.example.com/", "aud": "agentry", "sub": "alice", "org": "acme",
            "exp": now + 600, "scope": "llm:chat",
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed =
            format!("{}.{}", encode(&json!({ "alg": "EdDSA", "kid": id })), encode(&claims));
        let signature = self.0.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[test]
fn a_token_of_a_known_issuer_is_as_good_as_a_key() {
    let issuer = Issuer::new();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("agentry.toml", CONFIG.to_owned()),
        ("answers.toml", ANSWERS.to_owned()),
        ("pseudonyms.key", "a secret of this installation".to_owned()),
        ("jwks.json", issuer.jwks("one").to_string()),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let server = Running::again(folder);
    let check = |token: &str, request: &[u8], expected: &str| {
        assert_eq!(told(&server, &by(token, request)), expected);
    };
    let good = issuer.token("one", &json!({}));
    check(&good, &chat("fast"), "200");
    check(&good, &chat("fast"), "200");
    check(&good, &get("/v1/keys"), "403 scope_missing");
    assert_eq!(told(&server, &chat("fast")), "401 key_missing");
    for (changes, expected) in [
        (json!({ "exp": 1 }), "401 key_expired"),
        (json!({ "aud": "other" }), "401 key_invalid"),
        (json!({ "iss": "https://evil.example/" }), "401 key_invalid"),
        (json!({ "scope": "operator" }), "403 scope_missing"),
        (json!({ "org": "a/b" }), "401 key_invalid"),
    ] {
        check(&issuer.token("one", &changes), &chat("fast"), expected);
    }
    check(&Issuer::new().token("one", &json!({})), &chat("fast"), "401 key_invalid");

    let admin = issuer.token("one", &json!({ "scope": "admin", "sub": "bob@example.com" }));
    check(&admin, &get("/v1/audit"), "200");
    let (_, log) = server.json(&by(&admin, &get("/v1/audit")));
    let entry = log["data"][0]["entry"].as_str().unwrap();
    assert!(entry.contains("person:corp/u_") && entry.contains("\"acme\""), "{log}");
    assert!(!log.to_string().contains("bob"), "only the pseudonym: {log}");
}
