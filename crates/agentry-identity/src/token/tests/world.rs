//! An issuer that signs whatever it is told to, and what knows it.

use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentry_core::keys::Terms;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding,
    RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};

use super::super::*;
use crate::secret::digest;

pub(super) const NOW: i32 = 1_000_000;
pub(super) const ISSUER: &str = "https://issuer.test/";
pub(super) const HEADER: &str = r#"{"alg":"ES256","kid":"ec"}"#;

/// Of 1024 bits.
pub(super) const WEAK_MODULUS: &str = "wd-4EPXPr_zNq7d1U6INNOdNLnHt5JRSYt3WBo3cGOV9xJk_EOXYGFUCDT9eMuk5JiZPOEDfv-AiMb8IzWn7v-Vq26SkbfLtdwZtZBYX_-kLIOKYBJqgNjQgHZwZxhn-h9gkzlK_-HS6oLjBmG_fARPWO-4E3TWf8wBx-3AquMc";

pub(super) fn now() -> Timestamp {
    Timestamp::from_seconds(NOW)
}

/// What an issuer has: one key of each kind.
pub(super) struct Keys {
    pub(super) ec: EcdsaKeyPair,
    pub(super) ed: Ed25519KeyPair,
    pub(super) rsa: RsaKeyPair,
}

impl Keys {
    pub(super) fn new() -> Self {
        let random = SystemRandom::new();
        let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            ec: EcdsaKeyPair::from_pkcs8(curve, ec.as_ref(), &random).unwrap(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            rsa: RsaKeyPair::from_der(include_bytes!("rsa2048.der")).unwrap(),
        }
    }

    pub(super) fn jwks(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        let RsaPublicKeyComponents::<Vec<u8>> { n, e } = self.rsa.public().into();
        let (n, e) = (encode(&n), encode(&e));
        json!({ "keys": [
            { "kty": "EC", "kid": "ec", "crv": "P-256", "use": "sig",
              "x": encode(&point[1..33]), "y": encode(&point[33..]) },
            { "kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": encode(self.ed.public_key().as_ref()) },
            { "kty": "RSA", "kid": "rsa", "n": n, "e": e },
            { "kty": "RSA", "kid": "only-rs256", "alg": "RS256", "n": n, "e": e },
            { "kty": "RSA", "kid": "for-encryption", "use": "enc", "n": n, "e": e },
            { "kty": "RSA", "kid": "weak", "n": WEAK_MODULUS, "e": "AQAB" },
            { "kty": "oct", "kid": "shared", "k": encode(b"secret secret secret secret secr") },
            { "kty": "EC", "kid": "crooked", "crv": "P-256", "x": encode(&[1; 32]), "y": encode(&[2; 32]) },
            { "kty": "EC", "kid": "short", "crv": "P-256", "x": "AQ", "y": "AQ" },
            { "kty": 7 },
        ]})
    }

    pub(super) fn es256(&self, text: &[u8]) -> Vec<u8> {
        self.ec.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec()
    }

    pub(super) fn rsa(&self, padding: &'static dyn RsaEncoding, text: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public().modulus_len()];
        self.rsa.sign(padding, &SystemRandom::new(), text, &mut signature).unwrap();
        signature
    }
}

pub(super) struct Source {
    pub(super) jwks: StdMutex<Result<Value, String>>,
    pub(super) fetched: AtomicUsize,
}

#[async_trait]
impl KeySource for Source {
    async fn fetch(&self) -> Result<Bytes, String> {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        let jwks = self.jwks.lock().unwrap().clone();
        jwks.map(|jwks| Bytes::from(jwks.to_string()))
    }
}

pub(super) struct World {
    pub(super) keys: Keys,
    pub(super) source: Arc<Source>,
    pub(super) tokens: Tokens,
}

pub(super) fn policy() -> Policy {
    let scopes = ["llm:*", "incidents:read"].map(str::to_owned).to_vec();
    Policy {
        name: "corp".to_owned(),
        issuer: ISSUER.to_owned(),
        audiences: vec!["agentry".to_owned(), "https://agentry.test".to_owned()],
        algorithms: vec![Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa],
        leeway: Duration::from_secs(30),
        tenant: TenantOf::Everyone("main".to_owned()),
        claimed: Claimed {
            scopes: Some("scope".to_owned()),
            team: Some("org.team".to_owned()),
            ..Claimed::default()
        },
        terms: Terms { scopes, rpm: Some(7), ..Terms::default() },
    }
}

pub(super) fn world(policy: Policy) -> World {
    let keys = Keys::new();
    let jwks = StdMutex::new(Ok(keys.jwks()));
    let source = Arc::new(Source { jwks, fetched: AtomicUsize::new(0) });
    let tokens = Tokens::new(vec![Issuer::new(policy, Arc::clone(&source) as _)]);
    World { keys, source, tokens }
}

impl World {
    pub(super) async fn read(&self, token: &str, now: Timestamp) -> Result<Arc<Caller>, Bad> {
        self.tokens.verify(token.as_bytes(), digest(token.as_bytes()), now).await
    }

    pub(super) fn es256(&self, header: &str, claims: &str) -> String {
        sign(header, claims, |text| self.keys.es256(text))
    }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn sign(header: &str, claims: &str, signature: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
    let signature = signature(signed.as_bytes());
    format!("{signed}.{}", encode(&signature))
}

/// Good claims, with `changes` laid over them; null removes one.
pub(super) fn claims(changes: &Value) -> String {
    let mut claims = json!({
        "iss": ISSUER, "aud": "agentry", "sub": "alice", "iat": NOW - 10, "exp": NOW + 600,
        "scope": "llm:chat admin",
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims.to_string()
}

pub(super) fn good() -> String {
    claims(&json!({}))
}
