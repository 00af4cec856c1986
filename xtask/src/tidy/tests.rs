use serde_json::json;

use super::*;

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

fn check_text(path: &str, text: &str, expected: &[&str]) {
    let found: Vec<String> =
        text::findings(&file(path, text)).iter().map(Finding::to_string).collect();
    assert_eq!(found, expected, "{path}: {text}");
}

#[test]
fn house_rules_for_one_file() {
    let todo = concat!("TO", "DO");
    check_text("crates/a/src/lib.rs", "//! Its job.\n", &[]);
    check_text(
        "crates/a/src/lib.rs",
        "mod a;\n",
        &["crates/a/src/lib.rs:1: starts without `//!` docs that say the crate's job"],
    );
    check_text(
        "crates/a/src/b/mod.rs",
        "",
        &["crates/a/src/b/mod.rs: name it after its folder, beside it: foo.rs + foo/bar.rs"],
    );
    check_text(
        "a.rs",
        &format!("\n// {todo} later\n"),
        &[&format!("a.rs:2: {todo} without an issue: write {todo}(#123)")],
    );
    check_text(
        "a.rs",
        &format!("// {todo}(#) later\n"),
        &[&format!("a.rs:1: {todo} without an issue: write {todo}(#123)")],
    );
    check_text("a.rs", &format!("// {todo}(#12) later\n"), &[]);
    check_text("a.rs", &format!("let {todo}S = 1;\n"), &[]);
    let home = concat!("/ho", "me/");
    check_text(
        "a.md",
        &format!("cd {home}me/x\n"),
        &[&format!("a.md:1: a path under {home} exists on one machine only")],
    );
    check_text("a.md", &format!("https://example.org{home}x and ./app{home}x\n"), &[]);
}

#[test]
fn length_is_a_warning_before_it_is_an_error() {
    let lines = |count: usize| file("a.rs", &"x\n".repeat(count));
    let warned = |count| text::warning(&lines(count)).is_some();
    let refused = |count| !text::findings(&lines(count)).is_empty();
    assert_eq!([500, 501, 800, 801].map(warned), [false, true, true, false]);
    assert_eq!([500, 501, 800, 801].map(refused), [false, false, false, true]);
}

#[test]
fn codes_and_headings_match_both_ways() {
    let source = "match self { A => Code(\"known\"), B => Code(\"new\") }\n#[cfg(test)]\nmod tests { Code(\"fake\") }\n";
    let files = [
        file("crates/a/src/error.rs", source),
        file("crates/a/src/error/tests.rs", "Code(\"fake\")"),
        file("crates/agentry-testkit/src/lib.rs", "Code(\"fake\")"),
        file("docs/errors.md", "# Errors\n\n### known\n\nText.\n\n### `gone`\n"),
    ];
    let found: Vec<String> = codes::findings(&files).iter().map(Finding::to_string).collect();
    assert_eq!(
        found,
        [
            "crates/a/src/error.rs:1: the code `new` has no heading `### new` in docs/errors.md",
            "docs/errors.md:7: no source has the code `gone` any more",
        ]
    );
}

#[test]
fn codes_are_found_in_every_form() {
    let source = r##"
        Code(match self { A(_) => "chosen", B => "or_this", });
        agentry_core::Code(
            "wrapped"
        );
        StatusCode("not_ours"); status_code("not_ours");
        Refusal::new(StatusCode::CONFLICT, "refused", "not_ours");
        Refusal::bad_request("bad_one", format!("a \"quoted\" message {}", call("not_ours")));
        let bad = |code, message| Err(Refusal::bad_request(code, message));
        r#"{"error":{"code":"by_hand"}}"#;
        Refusal::of(failure)
    "##;
    let page: String = ["bad_one", "by_hand", "chosen", "or_this", "refused", "wrapped"]
        .iter()
        .map(|code| format!("### {code}\n"))
        .collect();
    let files = [file("crates/a/src/error.rs", source), file("docs/errors.md", &page)];
    assert_eq!(codes::findings(&files), []);
}

#[test]
fn the_deepest_chain_ignores_dev_dependencies_and_strangers() {
    let need = |name: &str, kind: Option<&str>| json!({"name": name, "kind": kind, "path": "x"});
    let packages = [
        json!({"name": "top", "dependencies": [need("left", None), need("right", None), need("kit", Some("dev"))]}),
        json!({"name": "left", "dependencies": [need("core", None)]}),
        json!({"name": "right", "dependencies": [need("left", Some("build")), {"name": "serde", "kind": null}]}),
        json!({"name": "kit", "dependencies": [need("right", None)]}),
        json!({"name": "core", "dependencies": []}),
    ];
    let (depth, chain) = graph::deepest(&packages, "top");
    assert_eq!((depth, chain.join(" ")), (4, "top right left core".to_owned()));
}

#[test]
fn the_test_kit_is_for_tests_and_core_does_no_io() {
    let package = |name: &str, need: &str, kind: Option<&str>| json!({"name": name, "dependencies": [{"name": need, "kind": kind}]});
    let packages = [
        package("agentry-core", "tokio", None),
        package("agentry-engine", "tokio", None),
        package("agentry-engine", "agentry-testkit", Some("dev")),
        package("agentry-server", "agentry-testkit", None),
    ];
    assert_eq!(
        graph::misplaced(&packages),
        [
            "agentry-core must not depend on tokio",
            "agentry-server must not depend on agentry-testkit"
        ]
    );
}

#[test]
fn a_package_counts_once() {
    let tree = "agentry v0.1.0 (x)\nserde v1.0.1\nserde_derive v1.0.1 (proc-macro)\nserde v1.0.1 (*)\nserde v0.9.0\n";
    assert_eq!(graph::distinct(tree), 4);
}
