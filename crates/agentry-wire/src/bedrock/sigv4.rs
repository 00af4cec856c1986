//! Signature Version 4: proves who sends a request, and that nobody changed it.

use agentry_core::Timestamp;
use sha2::{Digest as _, Sha256};

/// Who signs. Temporary credentials bring a session's token.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    pub access_key_id: &'a str,
    pub secret_access_key: &'a str,
    pub session_token: Option<&'a str>,
}

/// What is signed: a POST without a query.
#[derive(Debug, Clone, Copy)]
pub struct Signing<'a> {
    pub host: &'a str,
    /// As it stands in the request line, already encoded.
    pub path: &'a str,
    pub content_type: &'a str,
    pub body: &'a [u8],
    pub region: &'a str,
    pub service: &'a str,
    pub now: Timestamp,
}

/// The headers that a signed request has besides `host` and `content-type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub authorization: String,
    pub date: String,
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

#[must_use]
pub fn sign(signing: &Signing<'_>, credentials: Credentials<'_>) -> Signed {
    let Signing { host, path, content_type, body, region, service, now } = *signing;
    let date = stamp(now);
    let day = date.get(..8).unwrap_or_default();
    let (token, token_name) = match credentials.session_token {
        Some(token) => (format!("x-amz-security-token:{token}\n"), ";x-amz-security-token"),
        None => (String::new(), ""),
    };
    let names = format!("content-type;host;x-amz-date{token_name}");
    let canonical = format!(
        "POST\n{}\n\ncontent-type:{content_type}\nhost:{host}\nx-amz-date:{date}\n{token}\n{names}\n{}",
        encoded_path(path),
        hex(&Sha256::digest(body)),
    );
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let to_sign =
        format!("{ALGORITHM}\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let secret = format!("AWS4{}", credentials.secret_access_key);
    let key = [day, region, service, "aws4_request"]
        .into_iter()
        .fold(secret.into_bytes(), |key, part| hmac(&key, part.as_bytes()).to_vec());
    let signature = hex(&hmac(&key, to_sign.as_bytes()));
    let id = credentials.access_key_id;
    Signed {
        authorization: format!(
            "{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
        ),
        date,
    }
}

/// `20260131T080000Z`.
fn stamp(now: Timestamp) -> String {
    let whole = Timestamp::from_millis(now.as_millis().div_euclid(1_000).saturating_mul(1_000));
    whole.to_string().chars().filter(|symbol| !matches!(symbol, '-' | ':')).collect()
}

/// What is encoded in the path is encoded once more for the signature.
fn encoded_path(path: &str) -> String {
    path.split('/').map(encoded).collect::<Vec<_>>().join("/")
}

/// Everything but letters, digits and four signs as `%XX`.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

const BLOCK_BYTES: usize = 64;

/// HMAC of RFC 2104, with SHA-256.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK_BYTES];
    let short = Sha256::digest(key);
    let key = if key.len() > BLOCK_BYTES { short.as_slice() } else { key };
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message);
    let outer = Sha256::new().chain_update(block.map(|byte| byte ^ 0x5C));
    outer.chain_update(inner.finalize()).finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
