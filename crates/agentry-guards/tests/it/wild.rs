//! Whatever text comes: no panic, ranges that fit, and nothing left of what was replaced.

use agentry_guards::{Action, Guards, Kind, Settings};
use proptest::prelude::*;

use crate::corpus;

fn check(guards: &Guards, text: &str) {
    let findings = guards.scan(text);
    let mut end = 0;
    for finding in &findings {
        assert!(finding.range.start >= end && !finding.range.is_empty(), "{finding:?}");
        assert!(
            text.is_char_boundary(finding.range.start) && text.is_char_boundary(finding.range.end)
        );
        end = finding.range.end;
    }
    let cleaned = guards.clean(text);
    assert_eq!(cleaned.findings, findings);
    // What is left between the findings is what was there, so that nothing of a finding is.
    let mut expected = String::new();
    let mut at = 0;
    for finding in &findings {
        expected.push_str(&text[at..finding.range.start]);
        expected.push_str(&format!("[{}]", finding.kind.label()));
        at = finding.range.end;
        assert_eq!(finding.action, Action::Redact);
    }
    expected.push_str(&text[at..]);
    assert_eq!(cleaned.text, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_unicode_passes(text in any::<String>()) {
        check(corpus::everything(), &text);
    }

    #[test]
    fn what_looks_like_numbers_and_addresses_passes(
        text in r#"[0-9 .:/@+()a-fA-Fx=\u{200B}\u{A0}\u{2011}１é日"{}\[\]_-]{0,120}"#
    ) {
        check(corpus::everything(), &text);
    }

    #[test]
    fn what_looks_like_numbers_comes_out_of_pieces_as_of_the_whole(
        text in r"[0-9 .:/@+()a-eDGBx=\u{200B}\u{A0}é-]{0,90}",
        cut in any::<prop::sample::Index>(),
    ) {
        let guards = corpus::everything();
        let whole = guards.clean(&text).text.into_owned();
        let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let (left, right) = text.split_at(*cut.get(&cuts));
        let mut guard = guards.stream("text");
        let mut out = String::new();
        guard.push(left, &mut out).unwrap();
        guard.push(right, &mut out).unwrap();
        guard.finish(&mut out).unwrap();
        prop_assert_eq!(out, whole);
    }
}

/// Texts of which every part begins something that reaches far.
#[test]
fn a_text_made_to_be_slow_is_read_in_one_go() {
    let parts = [
        "a@b.co",
        "1.1.",
        "a:",
        "1a",
        "http://",
        "1 2",
        "4111 ",
        "+1 ",
        "ignor ",
        "key=",
        "-eyJ12345678",
        "x.y",
        "DE12 ",
        "-----BEGIN",
        "555-0100 ",
        "\u{200B}1",
    ];
    let settings = Settings {
        pii: Action::Redact,
        types: Kind::ALL
            .into_iter()
            .filter(|kind| kind.is_personal())
            .map(|kind| (kind.name().to_owned(), Action::Redact))
            .collect(),
        secrets: Action::Redact,
        injection: Action::Report,
        deny: vec!["a+b".to_owned()],
        ..Settings::default()
    };
    let guards = Guards::new(&settings).unwrap();
    for part in parts {
        // Quadratic work would take hours here; nothing is measured.
        let text = part.repeat(200_000 / part.len());
        check_ranges(&guards, &text);
    }
}

fn check_ranges(guards: &Guards, text: &str) {
    let personal = guards.scan(text).into_iter().filter(|finding| finding.kind != Kind::Injection);
    let mut end = 0;
    for finding in personal {
        assert!(finding.range.start >= end, "{finding:?}");
        end = finding.range.end;
    }
}
