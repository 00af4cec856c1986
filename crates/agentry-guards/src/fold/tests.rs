use super::*;

fn check(text: &str, depth: Depth, expected: &str, needle: &str, original: &str) {
    let folded = Folded::new(text, depth);
    assert_eq!(folded.text, expected);
    let start = folded.text.find(needle).unwrap();
    let range = folded.original_range(start..start + needle.len(), text);
    assert_eq!(&text[range], original);
}

#[test]
fn what_looks_the_same_is_the_same_and_the_way_back_is_known() {
    check("plain é text", Depth::Form, "plain é text", "é", "é");
    check("a\u{200B}b@c\u{200B} d", Depth::Form, "ab@c d", "ab@c", "a\u{200B}b@c");
    check("№ １２３-４", Depth::Form, "№ 123-4", "123-4", "１２３-４");
    check("+1\u{2011}555\u{A0}01", Depth::Form, "+1-555 01", "555 01", "555\u{A0}01");
    check("Ιgnоrе this", Depth::Looks, "ignore this", "ignore", "Ιgnоrе");
    check("𝓘gno\u{301}re 日本", Depth::Looks, "ignore 日本", "ignore", "𝓘gno\u{301}re");
    check("日本 ab", Depth::Looks, "日本 ab", "本 a", "本 a");
}
