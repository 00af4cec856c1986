use super::*;

#[track_caller]
fn check(text: &str, kind: Kind, expected: &[&str]) {
    let mut found = Vec::new();
    find(Hay(text.as_bytes()), 0, Wanted::default().with(kind), &mut found);
    found.retain(|one| one.kind == kind);
    found.sort_by_key(|one| (one.start, std::cmp::Reverse(one.end)));
    let found: Vec<&str> = found.iter().map(|one| &text[one.start..one.end]).collect();
    assert_eq!(found, expected, "{kind} in {text}");
}

#[test]
fn a_finding_ends_where_it_should() {
    check("(a.b@c.io).", Kind::Email, &["a.b@c.io"]);
    check("a@b.com.", Kind::Email, &["a@b.com"]);
    check("a@b.com-and", Kind::Email, &["a@b.com"]);
    check("..a@b.co.uk...", Kind::Email, &["a@b.co.uk"]);
    check("10.0.0.1.", Kind::Ip, &["10.0.0.1"]);
    check("fe80::1: no route", Kind::Ip, &["fe80::1"]);
    check("4111 1111 1111 1111 12/27", Kind::CreditCard, &["4111 1111 1111 1111"]);
    check("call 212-555-0147 24 hours", Kind::Phone, &["212-555-0147"]);
    check("DE89370400440532013000.", Kind::Iban, &["DE89370400440532013000"]);
    check("(see https://a.io/b_(c)?d=1.)", Kind::Url, &["https://a.io/b_(c)?d=1"]);
}

#[test]
fn the_words_before_decide_what_the_shape_leaves_open() {
    check("call 5550147", Kind::Phone, &["5550147"]);
    check("order 5550147", Kind::Phone, &[]);
    check("call about order 5550147", Kind::Phone, &[]);
    check("the ssn: 123456788", Kind::UsSsn, &["123456788"]);
    check("the sum: 123456788", Kind::UsSsn, &[]);
}

#[test]
fn what_is_not_wanted_is_not_looked_for() {
    check("a@b.com 10.0.0.1", Kind::Phone, &[]);
    let mut found = Vec::new();
    find(Hay(b"a@b.com"), 0, Wanted::default(), &mut found);
    assert!(found.is_empty());
}
