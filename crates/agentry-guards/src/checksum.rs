//! Check digits: what tells a number that was issued from one that only looks like it.

/// The value of an ASCII digit.
fn value(digit: u8) -> u32 {
    u32::from(digit.wrapping_sub(b'0'))
}

fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| value(*digit) * weight).sum()
}

/// Payment cards, Swedish personal numbers.
pub(crate) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, value(*digit)) {
            (0, value) => value,
            (_, value) if value > 4 => value * 2 - 9,
            (_, value) => value * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// ISO 7064 mod 97-10 as IBANs use it: country and check digits go to the end, letters count from 10.
pub(crate) fn iban(compact: &[u8]) -> bool {
    let (Some(head), Some(rest)) = (compact.get(..4), compact.get(4..)) else { return false };
    let remainder = rest.iter().chain(head).fold(0_u32, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + value(*byte)) % 97,
        letter => (sum * 100 + u32::from(letter.to_ascii_uppercase() - b'A') + 10) % 97,
    });
    remainder == 1
}

/// US bank routing numbers.
pub(crate) fn aba(digits: &[u8]) -> bool {
    digits.len() == 9 && weighted(digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
}

/// UK health service numbers.
pub(crate) fn nhs(digits: &[u8]) -> bool {
    let Some((check, body)) = digits.split_last() else { return false };
    let rest = weighted(body, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    digits.len() == 10 && (11 - rest) % 11 == value(*check)
}

/// ISO 7064 mod 11,10, and the rule that exactly one digit repeats among the first ten.
pub(crate) fn german_tax(digits: &[u8]) -> bool {
    let (11, Some((check, body))) = (digits.len(), digits.split_last()) else { return false };
    let counts = (b'0'..=b'9').map(|digit| body.iter().filter(|other| **other == digit).count());
    let (mut repeated, mut most) = (0, 0);
    for count in counts {
        repeated += usize::from(count > 1);
        most = most.max(count);
    }
    let product = body.iter().fold(10, |product, digit| {
        let sum = (value(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    digits.first() != Some(&b'0')
        && repeated == 1
        && most <= 3
        && (11 - product) % 10 == value(*check)
}

/// Verhoeff's scheme: multiplication in the dihedral group of order ten after a permutation by position.
pub(crate) fn verhoeff(digits: &[u8]) -> bool {
    let multiply = |left: u32, right: u32| match (left < 5, right < 5) {
        (true, true) => (left + right) % 5,
        (true, false) => 5 + (left + right) % 5,
        (false, true) => 5 + (left - right) % 5,
        (false, false) => (left + 5 - right) % 5,
    };
    let permute = |digit: u32| match digit {
        0 => 1,
        1 => 5,
        2 => 7,
        3 => 6,
        4 => 2,
        5 => 8,
        6 => 3,
        7 => 0,
        8 => 9,
        _ => 4,
    };
    let sum = digits.iter().rev().enumerate().fold(0, |sum, (at, digit)| {
        multiply(sum, (0..at % 8).fold(value(*digit), |digit, _| permute(digit)))
    });
    sum == 0
}

/// Polish personal numbers.
pub(crate) fn pesel(digits: &[u8]) -> bool {
    digits.len() == 11 && weighted(digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
}

/// Turkish identity numbers.
pub(crate) fn kimlik(digits: &[u8]) -> bool {
    let [odd, even] = [0, 1].map(|first| {
        digits.iter().take(9).skip(first).step_by(2).map(|digit| value(*digit)).sum::<u32>()
    });
    let ten: u32 = digits.iter().take(10).map(|digit| value(*digit)).sum();
    let check = |at: usize| digits.get(at).map(|digit| value(*digit));
    digits.len() == 11
        && digits.first() != Some(&b'0')
        && check(9) == Some((odd * 7 + 100 - even) % 10)
        && check(10) == Some(ten % 10)
}

/// The letter that a Spanish tax number ends with.
pub(crate) fn spanish_letter(number: u32) -> Option<u8> {
    b"TRWAGMYFPDXBNJZSQVHLCKE".get(usize::try_from(number % 23).ok()?).copied()
}

/// The character that a Finnish personal code ends with.
pub(crate) fn finnish_letter(number: u32) -> Option<u8> {
    b"0123456789ABCDEFHJKLMNPRSTUVWXY".get(usize::try_from(number % 31).ok()?).copied()
}

/// Digits as a number; nothing when there are other characters or too many.
pub(crate) fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
