use super::*;

fn check(key: &[u8], parts: &[&[u8]], expected: &str) {
    let mut digest = String::new();
    hex(&hmac(key, parts), 32, &mut digest);
    assert_eq!(digest, expected);
}

#[test]
fn the_digest_is_the_one_of_the_standard() {
    check(
        &[0x0b; 20],
        &[b"Hi ", b"There"],
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    );
    check(
        &[0xaa; 131],
        &[b"Test Using Larger Than Block-Size Key - Hash Key First"],
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    );
}

#[test]
fn a_pseudonym_depends_on_the_key_and_on_the_user() {
    let names = [pseudonym(b"one", "ann"), pseudonym(b"one", "bob"), pseudonym(b"two", "ann")];
    assert!(names.iter().all(|name| name.len() == 32));
    assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2]);
    assert_eq!(names[0], pseudonym(b"one", "ann"));
}
