//! What shoppers have put aside.

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Asked, Cx, Failed, Reply, broken, share, stock};
use crate::Service;
use crate::process::client::Call;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Encodings of stored carts that can be read.
    encodings: Vec<String>,
    items_max: usize,
}

impl Settings {
    pub(crate) fn healthy() -> Self {
        Self { encodings: vec!["v1".to_owned(), "v2".to_owned()], items_max: 20 }
    }

    /// The old encoding is dropped while half of the carts still use it.
    pub(crate) fn broken(&mut self) -> &'static str {
        self.encodings = vec!["v2".to_owned(), "v3".to_owned()];
        "store carts in encoding v3"
    }

    pub(crate) fn tuned(&mut self) -> String {
        self.items_max += 5;
        format!("allow {} items in a cart", self.items_max)
    }
}

pub(crate) async fn handle(
    cx: &Cx,
    settings: &Settings,
    route: &'static str,
    asked: &Asked,
) -> Result<Reply, Failed> {
    let session = asked.segment(1);
    cx.storage(1.2).await;
    let encoding = if share(session, 2) == 0 { "v1" } else { "v2" };
    if !settings.encodings.iter().any(|known| known == encoding) {
        let known = settings.encodings.join(", ");
        let message = format!(
            "decode cart {session} failed: unknown encoding {encoding}, expected one of {known}"
        );
        return Err(broken("carts", message));
    }
    if route == "/carts/{session}/items" {
        add(cx, settings, session, asked);
    }
    let items = items(cx, session);
    let total = price(cx, &items).await;
    if route == "/carts/{session}" {
        cx.info(
            "carts",
            &format!("cart {session} read: {} items", items.len()),
            &[("cents", json!(total))],
        );
    }
    let skus: Vec<&str> = items.iter().map(|(sku, _)| sku.as_str()).collect();
    Ok(Reply::ok(&json!({ "session": session, "skus": skus, "cents": total })))
}

fn add(cx: &Cx, settings: &Settings, session: &str, asked: &Asked) {
    let (sku, quantity) = (asked.value("sku"), asked.value("quantity").parse().unwrap_or(1_u64));
    let full = cx.compute(0.3, |table| {
        let prefix = format!("{session}/");
        let held =
            table.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)).count();
        if held < settings.items_max {
            *table.entry(format!("{prefix}{sku}")).or_default() += quantity;
        }
        held >= settings.items_max
    });
    if full {
        cx.warn("carts", &format!("cart {session} is full, {sku} not added"), &[]);
    } else {
        cx.info(
            "carts",
            &format!("added {quantity} x {sku} to cart {session}"),
            &[("sku", json!(sku))],
        );
    }
}

/// A session without a cart has its saved list, which is the same every time.
fn items(cx: &Cx, session: &str) -> Vec<(String, u64)> {
    let prefix = format!("{session}/");
    let mut items: Vec<(String, u64)> = cx.compute(0.2, |table| {
        table
            .range(prefix.clone()..)
            .map_while(|(key, quantity)| {
                key.strip_prefix(&prefix).map(|sku| (sku.to_owned(), *quantity))
            })
            .take(3)
            .collect()
    });
    if items.is_empty() {
        items.push((stock::sku(share(session, stock::PRODUCTS)), 1));
    }
    items
}

/// Prices are nice to have: without the catalogue the cart is shown with the prices of yesterday.
async fn price(cx: &Cx, items: &[(String, u64)]) -> u64 {
    let skus: Vec<&str> = items.iter().map(|(sku, _)| sku.as_str()).collect();
    let path = format!("/prices?skus={}", skus.join(","));
    let prices = cx
        .call(Call { peer: Service::Catalogue, method: Method::GET, path, route: "/prices" })
        .await;
    let prices = prices.unwrap_or_else(|_| {
        cx.warn("carts", &format!("using last known prices for {} items", items.len()), &[]);
        Value::Null
    });
    items
        .iter()
        .map(|(sku, quantity)| prices.get(sku).and_then(Value::as_u64).unwrap_or(1_990) * quantity)
        .sum()
}
