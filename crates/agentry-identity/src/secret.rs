//! What a key looks like: `agentry_live_`, 256 random bits in base 62, and a checksum that catches typing errors.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

const PREFIX: &str = "agentry_live_";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is just more than 2^256.
const BODY: usize = 43;
/// 62^6 is more than 2^32.
const CHECKSUM: usize = 6;
const HINT: usize = 4;

/// The one thing that must not be stored or logged. Shown once.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    #[must_use]
    pub fn of(entropy: [u8; 32]) -> Self {
        let mut text = String::with_capacity(PREFIX.len() + BODY + CHECKSUM);
        text.push_str(PREFIX);
        text.push_str(&base62(&entropy, BODY));
        let checksum = crc32(text.as_bytes());
        text.push_str(&base62(&checksum.to_be_bytes(), CHECKSUM));
        Self(text.into())
    }

    /// One that somebody else has made.
    #[must_use]
    pub fn given(secret: SecretString) -> Self {
        Self(secret)
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        digest(self.expose().as_bytes())
    }

    /// Whether it begins like one that [`Secret::of`] makes and is none.
    #[must_use]
    pub fn is_mistyped(&self) -> bool {
        is_mistyped(self.expose().as_bytes())
    }

    #[must_use]
    pub fn hint(&self) -> String {
        let text = self.expose();
        let from = text.char_indices().rev().nth(HINT - 1).map_or(0, |(at, _)| at);
        text.get(from..).unwrap_or_default().to_owned()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

pub(crate) fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Whether it wants to be one of our keys and cannot be: it was cut or mistyped.
pub(crate) fn is_mistyped(secret: &[u8]) -> bool {
    let Some(rest) = secret.strip_prefix(PREFIX.as_bytes()) else { return false };
    if rest.len() != BODY + CHECKSUM {
        return true;
    }
    let (before, checksum) = secret.split_at(secret.len() - CHECKSUM);
    base62(&crc32(before).to_be_bytes(), CHECKSUM).as_bytes() != checksum
}

/// A number, most significant byte first, in so many digits.
pub(crate) fn base62(number: &[u8], digits: usize) -> String {
    let mut number = number.to_vec();
    let mut written = vec![b'0'; digits];
    for place in written.iter_mut().rev() {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            // Less than 256, for `rest` is less than 62.
            *byte = (value / 62) as u8;
            rest = value % 62;
        }
        *place = DIGITS.get(rest as usize).copied().unwrap_or(b'0');
    }
    String::from_utf8(written).unwrap_or_default()
}

/// CRC-32 as in Ethernet and zip.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_has_the_form_that_scanners_look_for() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        let secret = Secret::of([0xFF; 32]);
        let text = secret.expose();
        assert_eq!(text.len(), 62);
        assert!(text.starts_with("agentry_live_"), "{text}");
        assert!(text[13..].bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text}");
        assert!(text.ends_with(&secret.hint()) && secret.hint().len() == 4);
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(base62(&[0; 32], 3), "000");
        assert_eq!(base62(&[61], 2), "0z");
        assert_eq!(base62(&[62], 2), "10");
    }

    #[test]
    fn what_is_not_ours_is_not_mistyped() {
        for foreign in ["", "sk-1", "agentry", "agentry_test_x", "eyJ.a.b"] {
            assert!(!is_mistyped(foreign.as_bytes()), "{foreign}");
        }
        for cut in ["agentry_live_", "agentry_live_abc"] {
            assert!(is_mistyped(cut.as_bytes()), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn different_entropy_makes_different_secrets_and_every_typo_is_seen(
            entropy in any::<[u8; 32]>(), other in any::<[u8; 32]>(), at in 13_usize..62, digit in 0_usize..62,
        ) {
            let secret = Secret::of(entropy);
            prop_assert!(!is_mistyped(secret.expose().as_bytes()));
            prop_assert_eq!(entropy == other, secret.expose() == Secret::of(other).expose());
            let mut typed = secret.expose().as_bytes().to_vec();
            let right = typed[at];
            typed[at] = DIGITS[digit];
            prop_assert_eq!(is_mistyped(&typed), typed[at] != right);
            typed.pop();
            prop_assert!(is_mistyped(&typed));
        }
    }
}
