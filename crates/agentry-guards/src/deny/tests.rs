use super::*;

fn check(pattern: &str, expected: &str) {
    let wrong = Deny::new(&["fine".to_owned(), pattern.to_owned()]).unwrap_err();
    assert_eq!(wrong.len(), 1);
    assert_eq!(wrong[0].0, 1);
    assert!(wrong[0].1.contains(expected), "{}", wrong[0].1);
}

#[test]
fn a_wrong_pattern_is_named_with_the_place_of_its_error() {
    check("abc(", "`abc(`, line 1, column 4: unclosed group");
    check("a{2,1}", "column 2");
    check("[z-a]", "`[z-a]`");
    check("x*", "matches the empty text");
    check(r"(?:\w{1000}){1000}", "too big");
}

#[test]
fn what_may_have_begun_is_known() {
    let deny = Deny::new(&["(?i)project +falcon".to_owned(), r"\bzebra\b".to_owned()]).unwrap();
    let live = |text: &str| deny.live(text, 0, 512);
    assert_eq!(live("nothing here "), 13);
    assert_eq!(live("about Project  "), 6);
    assert_eq!(live("a zebra"), 2);
    assert_eq!(live("a zebra or"), 10);
}
