use super::*;

fn check(rule: fn(&[u8]) -> bool, valid: &[&str]) {
    for number in valid {
        assert!(rule(number.as_bytes()), "{number}");
        // Each of these schemes notices every single wrong digit.
        for at in number.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| at) {
            let mut wrong = number.as_bytes().to_vec();
            wrong[at] = b'0' + (wrong[at] - b'0' + 1) % 10;
            assert!(!rule(&wrong), "{number} with another digit at {at}");
        }
    }
}

#[test]
fn a_right_number_passes_and_a_wrong_digit_is_noticed() {
    check(luhn, &["4111111111111111", "378282246310005", "5555555555554444"]);
    check(iban, &["GB29NWBK60161331926819", "DE89370400440532013000", "de89370400440532013000"]);
    check(aba, &["021000021", "011401533"]);
    check(nhs, &["9434765919"]);
    check(verhoeff, &["2363", "234123412346"]);
    check(pesel, &["44051401359"]);
    check(kimlik, &["10000000146"]);
    check(german_tax, &["86095742719", "47036892816"]);
}

#[test]
fn the_letters_at_the_end_follow_from_the_number() {
    assert_eq!(spanish_letter(12_345_678), Some(b'Z'));
    assert_eq!(finnish_letter(131_052_308), Some(b'T'));
}
