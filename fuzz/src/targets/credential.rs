//! What callers present: the first line is the header, the rest is what an issuer of tokens publishes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::audit::{Entry, Record};
use agentry_core::keys::{Change, Changed, KeyStore, Keys, Terms};
use agentry_core::store::Error;
use agentry_identity::token::{Algorithm, Claimed, Issuer, KeySource, Policy, TenantOf};
use agentry_identity::{Authenticator, KeyRing, Settings};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::runtime::{Builder, Runtime};

use crate::Shape;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));
static NO_KEYS: LazyLock<Arc<KeyRing>> = LazyLock::new(|| {
    let ring = RUNTIME.block_on(KeyRing::open(Arc::new(Empty), Vec::new()));
    Arc::new(ring.expect("a store that is always there"))
});

/// 2026-01-01.
const NOW: i64 = 1_767_225_600_000;

pub(crate) fn credential(data: &[u8]) -> u64 {
    let (line, published) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (data.get(..at).unwrap_or_default(), data.get(at + 1..).unwrap_or_default()),
        None => (data, &[][..]),
    };
    let Ok(value) = HeaderValue::from_bytes(line) else { return 0 };
    let issuer = Issuer::new(policy(), Arc::new(Published(Bytes::copy_from_slice(published))));
    let door = Authenticator::new(Arc::clone(&NO_KEYS), vec![issuer], Settings::default());
    let mut shape = Shape::new();
    for name in [AUTHORIZATION, HeaderName::from_static("x-api-key")] {
        let headers: HeaderMap = [(name, value.clone())].into_iter().collect();
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let now = Timestamp::from_millis(NOW);
        shape = match RUNTIME.block_on(door.authenticate(&headers, peer, now)) {
            Ok(caller) => {
                assert_eq!(&*caller.tenant, "main", "a token chose its tenant");
                shape.with("in")
            }
            Err(denied) => shape.words(&denied.to_string()),
        };
    }
    shape.done()
}

fn policy() -> Policy {
    Policy {
        name: "corp".to_owned(),
        issuer: "https://issuer.example".to_owned(),
        audiences: vec!["agentry".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        leeway: Duration::from_secs(30),
        tenant: TenantOf::Everyone("main".to_owned()),
        claimed: Claimed { scopes: Some("scope".to_owned()), ..Claimed::default() },
        terms: Terms { scopes: vec!["llm:chat".to_owned()], ..Terms::default() },
    }
}

struct Published(Bytes);

#[async_trait]
impl KeySource for Published {
    async fn fetch(&self) -> Result<Bytes, String> {
        Ok(self.0.clone())
    }
}

/// A store without keys.
struct Empty;

#[async_trait]
impl KeyStore for Empty {
    async fn version(&self) -> Result<u64, Error> {
        Ok(0)
    }

    async fn keys(&self) -> Result<Keys, Error> {
        Ok(Keys::default())
    }

    async fn change(&self, _: Change, _: Vec<Entry>) -> Result<Changed, Error> {
        unreachable!("nobody changes keys here")
    }

    async fn used(&self, _: Vec<(String, Timestamp)>) -> Result<(), Error> {
        Ok(())
    }

    async fn key_audit(&self, _: u64, _: usize) -> Result<Vec<Record>, Error> {
        Ok(Vec::new())
    }
}
