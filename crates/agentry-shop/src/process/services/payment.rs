//! Money.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Asked, Cx, Failed, Reply, broken};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    table: String,
    /// Ten-thousandths of a dollar by currency.
    rates: BTreeMap<String, u64>,
    review_cents: u64,
}

impl Settings {
    pub(crate) fn healthy() -> Self {
        let rates = [("EUR", 10_840), ("GBP", 12_710), ("USD", 10_000), ("CHF", 11_320)];
        Self {
            table: "fx-41".to_owned(),
            rates: rates.into_iter().map(|(currency, rate)| (currency.to_owned(), rate)).collect(),
            review_cents: 90_000,
        }
    }

    /// The new table lacks the currency that most customers pay in.
    pub(crate) fn broken(&mut self) -> &'static str {
        self.table = "fx-42".to_owned();
        self.rates.remove("EUR");
        self.rates.insert("SEK".to_owned(), 960);
        "exchange rates fx-42, adds SEK"
    }

    pub(crate) fn tuned(&mut self) -> String {
        self.review_cents += 10_000;
        format!("review payments from {}", self.review_cents / 100)
    }
}

pub(crate) async fn handle(cx: &Cx, settings: &Settings, asked: &Asked) -> Result<Reply, Failed> {
    let (order, currency) = (asked.value("order"), asked.value("currency"));
    let cents: u64 = asked.value("cents").parse().unwrap_or(0);
    let rate = settings.rates.get(currency).ok_or_else(|| {
        let table = &settings.table;
        broken(
            "ledger",
            format!("charge for order {order} failed: no rate for {currency} in table {table}"),
        )
    })?;
    let dollars = cents * rate / 10_000;
    if dollars > settings.review_cents {
        cx.warn("risk", &format!("order {order} queued for review"), &[("order", json!(order))]);
    }
    cx.compute(0.6, |table| table.insert(order.to_owned(), dollars));
    cx.storage(5.0).await;
    if cx.shared.random(|random| random.chance(0.03)) {
        cx.warn(
            "cards",
            &format!("card declined for order {order}: insufficient funds"),
            &[("order", json!(order))],
        );
        return Ok(Reply::json(
            StatusCode::PAYMENT_REQUIRED,
            &json!({ "error": "insufficient funds" }),
        ));
    }
    let message =
        format!("charged {}.{:02} {currency} for order {order}", cents / 100, cents % 100);
    cx.info("ledger", &message, &[("order", json!(order))]);
    Ok(Reply::ok(&json!({ "charged": cents })))
}
