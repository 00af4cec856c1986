//! Keyed digests: the same person has the same pseudonym, and only who has the key can tell whose it is.

use sha2::{Digest as _, Sha256};

const BLOCK: usize = 64;

/// HMAC-SHA256.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = [0_u8; BLOCK];
    let hashed;
    let key = if key.len() > BLOCK {
        hashed = Sha256::digest(key);
        hashed.as_slice()
    } else {
        key
    };
    for (slot, byte) in block.iter_mut().zip(key) {
        *slot = *byte;
    }
    let mut inner = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x36));
    for part in parts {
        inner.update(part);
    }
    let outer = Sha256::new_with_prefix(block.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

/// The first `bytes` of a digest, as hexadecimal digits.
pub(crate) fn hex(digest: &[u8], bytes: usize, into: &mut String) {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    for byte in digest.iter().take(bytes) {
        into.push(digit(byte >> 4));
        into.push(digit(byte & 15));
    }
}

/// A stable name for a user that does not say who it is: 32 hexadecimal digits of HMAC-SHA256.
#[must_use]
pub fn pseudonym(key: &[u8], user: &str) -> String {
    let mut name = String::with_capacity(32);
    hex(&hmac(key, &[b"user\0", user.as_bytes()]), 16, &mut name);
    name
}

#[cfg(test)]
mod tests;
