use super::*;
use crate::{Guards, Settings};

fn guards(pii: Action) -> Guards {
    let settings = Settings {
        pii,
        secrets: Action::Redact,
        deny: vec!["(?s)begin.*end".to_owned()],
        deny_action: Action::Redact,
        ..Settings::default()
    };
    Guards::new(&settings).unwrap()
}

/// What comes out after each piece, and at the end.
#[track_caller]
fn check(pieces: &[&str], expected: &[&str]) {
    let mut guard = guards(Action::Redact).stream("text");
    let mut said = Vec::new();
    for piece in pieces {
        let mut out = String::new();
        guard.push(piece, &mut out).unwrap();
        said.push(out);
    }
    let mut out = String::new();
    guard.finish(&mut out).unwrap();
    said.push(out);
    assert_eq!(said, expected);
}

#[test]
fn plain_words_wait_for_a_space_and_no_longer() {
    check(&["Hello ", "wor", "ld, ", "yes"], &["Hello ", "", "world, ", "", "yes"]);
}

#[test]
fn what_may_become_a_finding_waits() {
    check(&["mail mira", "@brass", "finch.com", " or"], &["mail ", "", "", "", "[EMAIL] or"]);
    check(
        &["card 4111 1111 ", "1111 1111 ok then, this was it"],
        &["card ", "[CREDIT_CARD] ok then, this was ", "it"],
    );
}

#[test]
fn what_blocks_ends_the_text_and_is_named_but_not_shown() {
    let mut guard = guards(Action::Block).stream("choices[0]");
    let mut out = String::new();
    guard.push("Her mail is mira", &mut out).unwrap();
    let blocked = guard.push("@brassfinch.com and more than that follows", &mut out).unwrap_err();
    assert_eq!(out, "Her mail is ");
    assert_eq!(
        blocked.to_string(),
        "choices[0] contains what may not pass here: email; take it out and try again"
    );
    assert_eq!(guard.report().found.len(), 1);
}

#[test]
fn what_never_comes_to_anything_is_let_go() {
    let mut guard = guards(Action::Redact).stream("text");
    let mut out = String::new();
    for _ in 0..400 {
        guard.push("begin of it ", &mut out).unwrap();
    }
    assert!(out.len() > 4000, "{}", out.len());
}

#[test]
fn a_key_that_does_not_end_is_refused() {
    let mut guard = guards(Action::Redact).stream("text");
    let mut out = String::new();
    let mut pushes = 0;
    let key = format!("{}{}.{}{}", "ey", "Jhbgci2345", "ey", "Jzdwiix123");
    let end = guard.push(&key, &mut out).and_then(|()| {
        (0..200_000).try_for_each(|_| {
            pushes += 1;
            guard.push("abc4", &mut out)
        })
    });
    assert_eq!(end, Err(Blocked::Endless { place: "text".to_owned() }));
    assert!(out.is_empty() && pushes < 20_000, "{pushes}");
}

#[test]
fn what_was_let_go_too_early_is_replaced_from_there_on() {
    let mut guard = guards(Action::Redact).stream("text");
    let mut out = String::new();
    guard.push("mail mira.ho", &mut out).unwrap();
    guard.flush(&mut out).unwrap();
    assert_eq!(out, "mail mira.ho");
    guard.push("lt@brassfinch.com ok", &mut out).unwrap();
    guard.finish(&mut out).unwrap();
    assert_eq!(out, "mail mira.ho[EMAIL] ok");
}
