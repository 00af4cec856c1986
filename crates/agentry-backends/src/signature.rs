//! Signing what is sent to others in the manner of Standard Webhooks, so that they can tell who sent it and when.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};

/// How a secret may begin, so that people and scanners know it when they see it.
const MARK: &str = "whsec_";
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// While one secret is replaced by another there are two; more are a mistake.
const SECRETS_MAX: usize = 8;

/// Signs with every secret that it has: whoever knows one of them can verify.
pub struct Signer {
    keys: Vec<hmac::Key>,
}

/// Why secrets cannot be used. None of them shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error(
        "secret {0} is not 24 to 64 bytes in base64; make one with `echo whsec_$(openssl rand -base64 32)`"
    )]
    Malformed(usize),
    #[error("there is no secret, or there are more than {SECRETS_MAX}")]
    Number,
}

impl Signer {
    /// Each is 24 to 64 bytes in base64, behind `whsec_` or without it.
    pub fn parse(secrets: &[SecretString]) -> Result<Self, SecretError> {
        if secrets.is_empty() || secrets.len() > SECRETS_MAX {
            return Err(SecretError::Number);
        }
        let key = |(index, secret): (usize, &SecretString)| {
            let text = secret.expose_secret().trim();
            let text = text.strip_prefix(MARK).unwrap_or(text);
            let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
            let bytes = bytes.ok().filter(|bytes| BYTES.contains(&bytes.len()));
            let bytes = bytes.ok_or(SecretError::Malformed(index + 1))?;
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        };
        let keys = secrets.iter().enumerate().map(key).collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// The value of `webhook-signature` for what is sent as `webhook-id` and `webhook-timestamp` (in seconds) with `body`: one
    /// signature for each secret, in their order.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let begin = format!("{id}.{timestamp}.");
        let signature = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(begin.as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        self.keys.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} secrets)", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(secrets: &[&str]) -> Result<Signer, SecretError> {
        let secrets: Vec<SecretString> =
            secrets.iter().map(|secret| SecretString::from(*secret)).collect();
        Signer::parse(&secrets)
    }

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_signature_is_the_one_that_others_compute() {
        // The example that the libraries of Standard Webhooks are tested with.
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        let known = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let sign = |secrets: &[&str]| parse(secrets).unwrap().sign(id, 1_614_265_330, body);
        assert_eq!(sign(&[SECRET]), known);
        assert_eq!(sign(&["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"]), known);
        let both = sign(&[OTHER, SECRET]);
        let [new, old] = both.split(' ').collect::<Vec<_>>()[..] else { panic!("{both}") };
        assert_eq!((new, old), (sign(&[OTHER]).as_str(), known));
        assert_ne!(new, old);
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_shown() {
        let check = |secrets: &[&str], expected: SecretError| {
            let refused = parse(secrets).unwrap_err();
            assert_eq!(refused, expected);
            assert!(secrets.iter().all(|secret| !refused.to_string().contains(secret)));
        };
        check(&[], SecretError::Number);
        check(&[SECRET; 9], SecretError::Number);
        check(&["whsec_dG9vc2hvcnQ="], SecretError::Malformed(1));
        check(&[SECRET, "no base64 at all, whatever one says"], SecretError::Malformed(2));
        assert!(!format!("{:?}", parse(&[SECRET]).unwrap()).contains("MfKQ"));
    }
}
