//! Public keys as issuers publish them, and what a signature of theirs is.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

/// How a token may be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::EdDsa => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no algorithm that is accepted: there are {all}",
    all = Algorithm::ALL.map(Algorithm::as_str).join(", ")
)]
pub struct UnknownAlgorithm(String);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|known| known.as_str() == text);
        found.ok_or_else(|| UnknownAlgorithm(text.chars().take(20).collect()))
    }
}

/// The usable keys of one issuer.
#[derive(Debug, Default)]
pub(super) struct Jwks(Vec<PublicKey>);

#[derive(Debug)]
struct PublicKey {
    id: Option<String>,
    /// The one it is for, if it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

const KEYS_MAX: usize = 100;
const RSA_BITS_MIN: usize = 2048;
/// So many keys of one id are tried.
const SAME_ID_MAX: usize = 4;

#[derive(Deserialize)]
struct Wire {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct WireKey {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwks {
    /// Keys that are not for signatures, are of another kind or too weak are left out.
    pub(super) fn read(json: &[u8]) -> Result<Self, String> {
        let wire: Wire =
            serde_json::from_slice(json).map_err(|error| format!("no set of keys: {error}"))?;
        if wire.keys.len() > KEYS_MAX {
            return Err(format!("more than {KEYS_MAX} keys"));
        }
        let keys =
            wire.keys.into_iter().filter_map(|key| usable(serde_json::from_value(key).ok()?));
        Ok(Self(keys.collect()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a key of that id is here, fit or not. A token without an id may mean the only key there is.
    pub(super) fn knows(&self, id: Option<&str>) -> bool {
        match id {
            Some(id) => self.0.iter().any(|key| key.id.as_deref() == Some(id)),
            None => self.0.len() == 1,
        }
    }

    pub(super) fn verifies(
        &self,
        (algorithm, id): (Algorithm, Option<&str>),
        signed: &[u8],
        signature: &[u8],
    ) -> bool {
        let fit = self.0.iter().filter(|key| match id {
            Some(id) => key.id.as_deref() == Some(id),
            None => self.0.len() == 1,
        });
        fit.take(SAME_ID_MAX).any(|key| key.verifies(algorithm, signed, signature))
    }
}

fn usable(wire: WireKey) -> Option<PublicKey> {
    let WireKey { kty, kid, used_for, alg, crv, n, e, x, y } = wire;
    if used_for.is_some_and(|used_for| used_for != "sig") {
        return None;
    }
    let algorithm = match alg {
        Some(alg) => Some(alg.parse().ok()?),
        None => None,
    };
    let bytes = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?).ok();
    let point = |length: usize| {
        let (x, y) = (bytes(x.clone())?, bytes(y.clone())?);
        (x.len() == length && y.len() == length)
            .then(|| [&[4], x.as_slice(), y.as_slice()].concat())
    };
    let material = match (kty.as_str(), crv.as_deref()) {
        ("RSA", None) => {
            let (n, e) = (bytes(n)?, bytes(e)?);
            let n: Vec<u8> = n.into_iter().skip_while(|byte| *byte == 0).collect();
            let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
            (bits >= RSA_BITS_MIN).then_some(Material::Rsa { n, e })?
        }
        ("EC", Some("P-256")) => Material::P256(point(32)?),
        ("EC", Some("P-384")) => Material::P384(point(48)?),
        ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(x).filter(|x| x.len() == 32)?),
        _ => return None,
    };
    Some(PublicKey { id: kid, algorithm, material })
}

impl PublicKey {
    fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        if self.algorithm.is_some_and(|own| own != algorithm) {
            return false;
        }
        match (&self.material, algorithm) {
            (Material::Rsa { n, e }, _) => algorithm.rsa().is_some_and(|parameters| {
                RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature).is_ok()
            }),
            (Material::P256(point), Algorithm::Es256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                    .verify(signed, signature)
                    .is_ok()
            }
            (Material::P384(point), Algorithm::Es384) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                    .verify(signed, signature)
                    .is_ok()
            }
            (Material::Ed25519(key), Algorithm::EdDsa) => {
                UnparsedPublicKey::new(&ED25519, key).verify(signed, signature).is_ok()
            }
            (Material::P256(_) | Material::P384(_) | Material::Ed25519(_), _) => false,
        }
    }
}
