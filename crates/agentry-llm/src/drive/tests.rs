use super::*;

#[test]
fn an_error_that_repeats_our_credential_does_not_tell_it() {
    let check = |prefix: &str, report: &str, expected: &str| {
        let secret = credential(prefix, &SecretString::from("sk-do-not-tell")).unwrap();
        let told = without(report.as_bytes(), Some(&secret));
        assert_eq!(String::from_utf8_lossy(&told), expected);
    };
    for prefix in ["Bearer ", ""] {
        check(prefix, "bad key: sk-do-not-tell", "bad key: [our key]");
        check(prefix, "`Bearer sk-do-not-tell`, sk-do-not-tell.", "`Bearer [our key]`, [our key].");
        check(prefix, "no key at all", "no key at all");
        check(prefix, "", "");
    }
    assert_eq!(&*without(b"Bearer x", None), b"Bearer x");
}
