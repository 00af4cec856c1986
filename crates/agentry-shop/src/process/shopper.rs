//! Many people shopping at once: requests arrive at random, whether or not earlier ones were answered.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::telemetry::Level;
use http::Method;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::Service;
use crate::random::Random;

use super::client::{Call, Refusal};
use super::server::new_trace_id;
use super::services::{Cx, stock};
use super::shared::{Entry, Shared};
use super::spans::Trace;

/// Whoever comes while this many wait for an answer turns away.
const WAITING_MAX: usize = 512;
const SESSIONS: u64 = 400;

pub(crate) async fn visit(shared: Arc<Shared>, stopping: CancellationToken) {
    let mut random = Random::new(shared.launch.seed);
    let waiting = Arc::new(Semaphore::new(WAITING_MAX));
    loop {
        let pause = Duration::from_secs_f64(random.arrival_seconds(shared.launch.load_rps));
        if stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        let call = choose(&mut random);
        if let Ok(place) = Arc::clone(&waiting).try_acquire_owned() {
            let shared = Arc::clone(&shared);
            shared.tracker.clone().spawn(async move {
                open(shared, call).await;
                drop(place);
            });
        }
    }
}

fn choose(random: &mut Random) -> Call {
    let session = format!("s-{}", 10_000 + random.below(SESSIONS));
    let sku = stock::sku(random.below(stock::PRODUCTS));
    let (method, path, route) = match random.below(100) {
        0..20 => {
            let category = stock::category(&sku);
            (Method::GET, format!("/?category={category}"), "/")
        }
        20..52 => (Method::GET, format!("/product/{sku}"), "/product/{sku}"),
        52..68 => {
            let quantity = 1 + random.below(3);
            (
                Method::POST,
                format!("/cart?session={session}&sku={sku}&quantity={quantity}"),
                "/cart",
            )
        }
        68..75 => (Method::GET, format!("/cart?session={session}"), "/cart"),
        _ => {
            let country = stock::country(random);
            (Method::POST, format!("/checkout?session={session}&country={country}"), "/checkout")
        }
    };
    Call { peer: Service::Frontend, method, path, route }
}

async fn open(shared: Arc<Shared>, call: Call) {
    let trace = Trace { trace_id: new_trace_id(&shared), span_id: 0 };
    let asked = format!("{} {}", call.method, call.path.split('?').next().unwrap_or_default());
    let cx = Cx { shared: Arc::clone(&shared), trace };
    let (level, message) = match cx.call(call).await {
        Ok(_) => (Level::Info, format!("{asked} loaded")),
        Err(Refusal::Status(status)) if status.is_client_error() => {
            (Level::Info, format!("{asked} refused with {}", status.as_u16()))
        }
        Err(_) => (Level::Warn, format!("{asked} gave up")),
    };
    shared.log(Entry { level, logger: "browser", message: &message, trace: None, fields: &[] });
}
