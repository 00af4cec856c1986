//! From a cart to an order.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Asked, Cx, Failed, Reply, broken, stock};
use crate::Service;
use crate::process::client::{Call, Refusal};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Sales tax in percent by country.
    tax_percent: BTreeMap<String, u64>,
    free_shipping_cents: u64,
}

impl Settings {
    pub(crate) fn healthy() -> Self {
        let tax = [("DE", 19), ("FR", 20), ("GB", 20), ("US", 0), ("NL", 21), ("CH", 8)];
        Self {
            tax_percent: tax
                .into_iter()
                .map(|(country, percent)| (country.to_owned(), percent))
                .collect(),
            free_shipping_cents: 4_900,
        }
    }

    /// The table now has one entry for the union where its members used to be.
    pub(crate) fn broken(&mut self) -> &'static str {
        for country in ["DE", "FR", "NL"] {
            self.tax_percent.remove(country);
        }
        self.tax_percent.insert("EU".to_owned(), 20);
        "one tax rule for all of the EU"
    }

    pub(crate) fn tuned(&mut self) -> String {
        self.free_shipping_cents += 500;
        format!("free shipping from {}", money(self.free_shipping_cents))
    }
}

fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

pub(crate) async fn handle(cx: &Cx, settings: &Settings, asked: &Asked) -> Result<Reply, Failed> {
    let (session, country) = (asked.value("session"), asked.value("country"));
    let currency = stock::currency(country);
    let path = format!("/carts/{session}");
    let cart = cx
        .call(Call { peer: Service::Cart, method: Method::GET, path, route: "/carts/{session}" })
        .await?;
    let skus: Vec<&str> = cart
        .get("skus")
        .and_then(Value::as_array)
        .map_or_else(Vec::new, |skus| skus.iter().filter_map(Value::as_str).collect());
    let goods = cart.get("cents").and_then(Value::as_u64).unwrap_or(0);

    let percent = settings.tax_percent.get(country).ok_or_else(|| {
        broken(
            "orders",
            format!("price order of {session} failed: no tax rule for country {country}"),
        )
    })?;
    let shipping = if goods >= settings.free_shipping_cents { 0 } else { 490 };
    let total = goods + goods * percent / 100 + shipping;
    let order = format!("o-{:08x}", cx.shared.random(|random| random.next() >> 32));

    let path = format!("/reservations?order={order}&skus={}", skus.join(","));
    let reserve =
        Call { peer: Service::Inventory, method: Method::POST, path, route: "/reservations" };
    cx.call(reserve).await?;
    let path = format!("/payments?order={order}&cents={total}&currency={currency}");
    let pay = Call { peer: Service::Payment, method: Method::POST, path, route: "/payments" };
    match cx.call(pay).await {
        Err(Refusal::Status(StatusCode::PAYMENT_REQUIRED)) => {
            cx.warn(
                "orders",
                &format!("order {order} not placed: card declined"),
                &[("order", json!(order))],
            );
            return Ok(Reply::json(
                StatusCode::PAYMENT_REQUIRED,
                &json!({ "error": "card declined" }),
            ));
        }
        paid => paid?,
    };
    cx.compute(0.5, |table| table.insert(order.clone(), total));
    cx.storage(1.5).await;
    let message =
        format!("order {order} placed: {} items, {} {currency}", skus.len(), money(total));
    cx.info("orders", &message, &[("order", json!(order)), ("country", json!(country))]);
    Ok(Reply::ok(&json!({ "order": order, "cents": total, "currency": currency })))
}
