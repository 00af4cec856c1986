//! What it costs a request to be recognised: `cargo run --release -p agentry-identity --example authenticate_bench`.

#![expect(clippy::unwrap_used, reason = "a measurement fails by panicking")]
#![expect(clippy::print_stdout, reason = "it is what it is for")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use agentry_backends::memory::MemoryStore;
use agentry_core::Timestamp;
use agentry_core::keys::{Key, Terms};
use agentry_identity::{Authenticator, KeyRing, Secret, Settings};
use http::HeaderMap;
use http::header::AUTHORIZATION;

const KEYS: u32 = 10_000;
const ROUNDS: u32 = 1_000_000;
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn secret(number: u32) -> Secret {
    let mut entropy = [7; 32];
    entropy[..4].copy_from_slice(&number.to_be_bytes());
    Secret::of(entropy)
}

fn key(number: u32) -> Key {
    let secret = secret(number);
    Key {
        id: format!("key_{number}"),
        digest: secret.digest(),
        hint: secret.hint(),
        tenant: "main".to_owned(),
        name: format!("n{number}"),
        team: None,
        user: None,
        terms: Terms { scopes: vec!["llm:chat".to_owned()], ..Terms::default() },
        created: Timestamp::from_seconds(0),
        expires: None,
        revoked: None,
        replaced_by: None,
        used: None,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let keys = (0..KEYS).map(key).collect();
    let ring = KeyRing::open(Arc::new(MemoryStore::new()), keys).await.unwrap();
    let door = Authenticator::new(Arc::new(ring), Vec::new(), Settings::default());
    let mut headers = HeaderMap::new();
    let value = format!("Bearer {}", secret(4_711).expose());
    headers.insert(AUTHORIZATION, value.parse().unwrap());
    let now = Timestamp::from_seconds(1_000_000);
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        let caller = door.authenticate(black_box(&headers), HERE, now).await;
        black_box(caller.unwrap());
    }
    let each = begun.elapsed() / ROUNDS;
    println!("one of {KEYS} keys: {} ns per request", each.as_nanos());
}
