//! A text cut into pieces comes out as the whole text does, wherever it is cut.

use agentry_guards::Guards;
use proptest::prelude::*;

use crate::corpus;

/// The texts of the corpus, and some with keys and denied words.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = corpus::personal().into_iter().map(|one| one.text).collect();
    let body = "abcdEFGH2345ijklMNOP6789qrstUVWX";
    texts.extend([
        format!("use sk-{}-{body}-{body} please", "ant-api03"),
        format!("token {}{body}wxyz! and more", "ghp_"),
        format!("{}.{body}.{body} is a token", concat!("ey", "Jhbgci2345.ey", "J", "zdWIiOiIx")),
        format!(
            "-----BEGIN {} KEY-----\n{body}\n{body}\nabc=\n-----END {0} KEY-----\nand then",
            "PRIVATE"
        ),
        format!("db: postgres://app:{}@db.host/main and more words", "k7Qp2vXw9Zr4"),
        format!("api_key = \"{}\" # comment", "q9Zx8Cv7Bn6Mm5Lk4J"),
        "the plans of Project   Falcon and zebra-77, zebra-x; project falcons".to_owned(),
        "Müller–Lüdenscheidt’s “call” – +49 30 901820 … ok".to_owned(),
    ]);
    texts
}

/// Passes a text through a stream in these pieces.
fn streamed<'a>(guards: &Guards, pieces: impl Iterator<Item = &'a str>) -> String {
    let mut guard = guards.stream("text");
    let mut out = String::new();
    for piece in pieces {
        guard.push(piece, &mut out).unwrap();
    }
    guard.finish(&mut out).unwrap();
    out
}

#[test]
fn every_text_comes_out_the_same_from_every_cut() {
    let guards = corpus::everything();
    for text in texts() {
        let whole = guards.clean(&text).text.into_owned();
        for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            let (left, right) = text.split_at(at);
            assert_eq!(streamed(guards, [left, right].into_iter()), whole, "{left:?} | {right:?}");
        }
        let mut buffer = [0; 4];
        let letters: Vec<String> =
            text.chars().map(|c| c.encode_utf8(&mut buffer).to_owned()).collect();
        assert_eq!(streamed(guards, letters.iter().map(String::as_str)), whole, "letter by letter");
    }
}

#[test]
fn a_long_text_comes_out_the_same_letter_by_letter() {
    let guards = corpus::everything();
    let text = texts().join(" and so on. ");
    let whole = guards.clean(&text).text.into_owned();
    let pieces: Vec<&str> = text.split_inclusive(|_: char| true).collect();
    let out = streamed(guards, pieces.iter().copied());
    let differs = out.bytes().zip(whole.bytes()).position(|(left, right)| left != right);
    if let Some(at) = differs {
        let near =
            |text: &str| text.bytes().skip(at.saturating_sub(80)).take(160).collect::<Vec<u8>>();
        panic!(
            "{}\n{}",
            String::from_utf8_lossy(&near(&out)),
            String::from_utf8_lossy(&near(&whole))
        );
    }
    assert_eq!(out.len(), whole.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn texts_side_by_side_come_out_the_same_from_any_pieces(
        picks in proptest::collection::vec((any::<prop::sample::Index>(), 0..6_usize), 1..6),
        sizes in proptest::collection::vec(1..40_usize, 1..30),
    ) {
        let texts = texts();
        let joints = [" ", "", "\n", ", ", " - ", "1"];
        let text: String = picks.iter().map(|(pick, joint)| format!("{}{}", pick.get(&texts), joints[*joint])).collect();
        let guards = corpus::everything();
        let whole = guards.clean(&text).text.into_owned();
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let end = rest.char_indices().map(|(at, _)| at).chain([rest.len()]).nth(*size).unwrap_or(rest.len());
            let (piece, after) = rest.split_at(end);
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(streamed(guards, pieces.into_iter()), whole);
    }
}
