//! Products and their prices.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::stock::{self, CATEGORIES, PRODUCTS};
use super::{Asked, Cx, Failed, Reply, broken, share};
use crate::process::client::Call;
use crate::{Error, Service};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// By category: a file of prices in cents by SKU.
    price_lists: BTreeMap<String, PathBuf>,
    suggestions: u32,
}

impl Settings {
    pub(crate) fn healthy(folder: &Path) -> Result<Self, Error> {
        let folder = folder.join("assets").join("prices");
        std::fs::create_dir_all(&folder)
            .map_err(|source| Error::file("create", &folder, source))?;
        let mut price_lists = BTreeMap::new();
        for category in CATEGORIES {
            let prices: BTreeMap<String, u64> = (0..PRODUCTS)
                .map(stock::sku)
                .filter(|sku| stock::category(sku) == category)
                .map(|sku| (sku.clone(), 350 + share(&sku, 4_000)))
                .collect();
            let path = folder.join(format!("{category}.json"));
            crate::deployment::write(&path, &prices)?;
            price_lists.insert(category.to_owned(), path);
        }
        Ok(Self { price_lists, suggestions: 4 })
    }

    /// Two of the four lists are looked for where they are not.
    pub(crate) fn broken(&mut self) -> &'static str {
        for category in ["coffee", "mugs"] {
            if let Some(path) = self.price_lists.get_mut(category) {
                *path = path.with_file_name("seasonal").join(format!("{category}.json"));
            }
        }
        "read seasonal price lists"
    }

    pub(crate) fn tuned(&mut self) -> String {
        self.suggestions += 1;
        format!("{} suggestions beside a product", self.suggestions)
    }
}

pub(crate) async fn handle(
    cx: &Cx,
    settings: &Settings,
    route: &'static str,
    asked: &Asked,
) -> Result<Reply, Failed> {
    match route {
        "/products" => list(cx, settings, asked),
        "/products/{sku}" => product(cx, settings, asked.segment(1)).await,
        _ => prices(cx, settings, asked.value("skus")),
    }
}

fn list(cx: &Cx, settings: &Settings, asked: &Asked) -> Result<Reply, Failed> {
    let category = asked.value("category");
    let limit = asked.value("limit").parse().unwrap_or(24);
    let prices = price_list(settings, category)?;
    let shown: Vec<Value> = prices
        .iter()
        .take(limit)
        .map(|(sku, cents)| json!({ "sku": sku, "cents": cents }))
        .collect();
    cx.compute(0.7, |table| *table.entry(category.to_owned()).or_default() += 1);
    cx.info("catalogue", &format!("listed {} products of {category}", shown.len()), &[]);
    Ok(Reply::ok(&json!({ "products": shown })))
}

async fn product(cx: &Cx, settings: &Settings, sku: &str) -> Result<Reply, Failed> {
    cx.storage(1.5).await;
    let Some(cents) = price_list(settings, stock::category(sku))?.get(sku).copied() else {
        cx.warn("catalogue", &format!("product {sku} is not in the catalogue"), &[]);
        return Ok(Reply::json(StatusCode::NOT_FOUND, &json!({ "error": "no such product" })));
    };
    let path = format!("/stock/{sku}");
    let stock = cx
        .call(Call { peer: Service::Inventory, method: Method::GET, path, route: "/stock/{sku}" })
        .await?;
    let left = stock.get("left").and_then(Value::as_u64).unwrap_or(0);
    let views = cx.compute(0.6, |table| {
        let views = table.entry(sku.to_owned()).or_default();
        *views += 1;
        *views
    });
    cx.info(
        "catalogue",
        &format!("product {sku} viewed, {left} in stock"),
        &[("views", json!(views))],
    );
    Ok(Reply::ok(&json!({ "sku": sku, "cents": cents, "left": left })))
}

fn prices(cx: &Cx, settings: &Settings, skus: &str) -> Result<Reply, Failed> {
    let mut prices = serde_json::Map::new();
    for sku in skus.split(',').filter(|sku| !sku.is_empty()) {
        let list = price_list(settings, stock::category(sku))?;
        prices.insert(sku.to_owned(), json!(list.get(sku).copied().unwrap_or(0)));
    }
    cx.compute(0.3, |_| ());
    cx.info("catalogue", &format!("priced {} items", prices.len()), &[]);
    Ok(Reply::ok(&Value::Object(prices)))
}

/// Read where we are: the file is small and cached, and another thread would take longer than reading it does.
fn price_list(settings: &Settings, category: &str) -> Result<BTreeMap<String, u64>, Failed> {
    let failed =
        |why: String| broken("prices", format!("load price list {category} failed: {why}"));
    let path =
        settings.price_lists.get(category).ok_or_else(|| failed("not configured".to_owned()))?;
    let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))
}
