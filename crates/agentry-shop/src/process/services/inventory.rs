//! What is in the warehouses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Asked, Cx, Failed, Reply, broken, share};

const SHARDS: u64 = 4;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Which warehouse holds a shard of the stock.
    warehouses: BTreeMap<String, String>,
    refill_at: u64,
}

impl Settings {
    pub(crate) fn healthy() -> Self {
        let warehouses = ["hamburg", "lyon", "leeds", "newark"];
        Self {
            warehouses: (0..SHARDS).map(shard).zip(warehouses.map(str::to_owned)).collect(),
            refill_at: 5,
        }
    }

    /// Two shards are moved to a warehouse, and end up in none.
    pub(crate) fn broken(&mut self) -> &'static str {
        self.warehouses.retain(|_, name| name != "lyon" && name != "newark");
        "merge the lyon and newark warehouses"
    }

    pub(crate) fn tuned(&mut self) -> String {
        self.refill_at += 1;
        format!("refill when {} are left", self.refill_at)
    }

    fn warehouse(&self, sku: &str) -> Result<&str, Failed> {
        let shard = shard(share(sku, SHARDS));
        self.warehouses.get(&shard).map(String::as_str).ok_or_else(|| {
            broken(
                "warehouse",
                format!("look up {sku} failed: {shard} is not in the warehouse map"),
            )
        })
    }
}

fn shard(number: u64) -> String {
    format!("shard-{number}")
}

pub(crate) async fn handle(
    cx: &Cx,
    settings: &Settings,
    route: &'static str,
    asked: &Asked,
) -> Result<Reply, Failed> {
    if route == "/stock/{sku}" {
        stock(cx, settings, asked.segment(1)).await
    } else {
        reserve(cx, settings, asked).await
    }
}

async fn stock(cx: &Cx, settings: &Settings, sku: &str) -> Result<Reply, Failed> {
    let warehouse = settings.warehouse(sku)?;
    cx.storage(1.2).await;
    let left = cx
        .compute(0.3, |table| *table.entry(sku.to_owned()).or_insert_with(|| 40 + share(sku, 60)));
    cx.info("warehouse", &format!("{left} of {sku} in {warehouse}"), &[("sku", json!(sku))]);
    Ok(Reply::ok(&json!({ "sku": sku, "left": left })))
}

async fn reserve(cx: &Cx, settings: &Settings, asked: &Asked) -> Result<Reply, Failed> {
    let order = asked.value("order");
    let mut reserved = 0;
    for sku in asked.value("skus").split(',').filter(|sku| !sku.is_empty()) {
        let warehouse = settings.warehouse(sku)?;
        let left = cx.compute(0.2, |table| {
            let left = table.entry(sku.to_owned()).or_insert_with(|| 40 + share(sku, 60));
            *left = left.saturating_sub(1);
            let seen = *left;
            if seen <= settings.refill_at {
                *left = 100;
            }
            seen
        });
        if left <= settings.refill_at {
            cx.warn(
                "warehouse",
                &format!("stock of {sku} low in {warehouse}: {left} left, refilling"),
                &[],
            );
        }
        reserved += 1;
    }
    cx.storage(2.0).await;
    cx.info(
        "warehouse",
        &format!("reserved {reserved} items for order {order}"),
        &[("order", json!(order))],
    );
    Ok(Reply::ok(&json!({ "reserved": reserved })))
}
