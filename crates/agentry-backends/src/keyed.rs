//! An idempotency key as a name that file systems and labels accept.

use sha2::{Digest as _, Sha256};

/// Longest name that is surely accepted, with an extension or a prefix added.
const NAME_MAX: usize = 100;

/// Lower-case letters, digits, `-`, `_` and inner dots stay. A key that holds anything else, or too much of it, gets part of
/// its hash behind it: different keys keep different names.
pub(crate) fn name(key: &str) -> String {
    let safe = |character: char| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || "-_.".contains(character)
    };
    let unchanged = !key.is_empty()
        && key.len() <= NAME_MAX
        && key.chars().all(safe)
        && !key.starts_with(['.', '-']);
    if unchanged {
        return key.to_owned();
    }
    let replaced = key.chars().map(|character| character.to_ascii_lowercase());
    let replaced = replaced.map(|character| if safe(character) { character } else { '-' });
    let start: String = replaced.take(NAME_MAX - 20).collect();
    let digest = Sha256::digest(key.as_bytes());
    let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    match start.trim_start_matches(['.', '-']) {
        "" => hash,
        start => format!("{start}-{hash}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_becomes_a_safe_name() {
        let check = |key: &str, expected: &str| assert_eq!(name(key), expected, "{key}");
        check("0192f0c1-ticket", "0192f0c1-ticket");
        check("run/7:ticket", "run-7-ticket-549b73b2da35c549");
        check("Run", "run-00d60e31a4e6b834");
        check("../../etc/passwd", "etc-passwd-3754d6cb3a38e118");
        check("", "e3b0c44298fc1c14");
        check("größe", "gr--e-d353a2671b67afff");
    }

    #[test]
    fn different_keys_have_different_names() {
        let long = "x".repeat(300);
        let keys = ["a/b", "a-b", "A-b", "a:b", "a b", long.as_str(), &long[1..], ".a", "-a", "a"];
        let names: std::collections::BTreeSet<String> = keys.iter().map(|key| name(key)).collect();
        assert_eq!(names.len(), keys.len(), "{names:?}");
        assert!(
            names.iter().all(|name| name.len() <= NAME_MAX && !name.starts_with(['.', '-'])),
            "{names:?}"
        );
    }
}
