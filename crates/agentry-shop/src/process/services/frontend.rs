//! The pages that a browser sees.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Asked, Cx, Failed, Reply, broken};
use crate::process::client::Call;
use crate::{Error, Service};

const PAGES: [(&str, &str); 4] = [
    ("home", "<html><h1>Good coffee, good tea</h1><ul>{{ content }}</ul></html>\n"),
    ("product", "<html><h1>{{ title }}</h1><p>{{ content }}</p></html>\n"),
    ("cart", "<html><h1>Your cart</h1><p>{{ content }}</p></html>\n"),
    ("receipt", "<html><h1>Thank you</h1><p>{{ content }}</p></html>\n"),
];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    templates: BTreeMap<String, PathBuf>,
    page_size: u64,
}

impl Settings {
    pub(crate) fn healthy(folder: &Path) -> Result<Self, Error> {
        let folder = folder.join("assets").join("templates");
        std::fs::create_dir_all(&folder)
            .map_err(|source| Error::file("create", &folder, source))?;
        let mut templates = BTreeMap::new();
        for (page, text) in PAGES {
            let path = folder.join(format!("{page}.html"));
            std::fs::write(&path, text).map_err(|source| Error::file("write", &path, source))?;
            templates.insert(page.to_owned(), path);
        }
        Ok(Self { templates, page_size: 24 })
    }

    /// The new templates were never shipped.
    pub(crate) fn broken(&mut self) -> &'static str {
        for page in ["home", "product"] {
            if let Some(path) = self.templates.get_mut(page) {
                path.set_extension("v2.html");
            }
        }
        "new layout of the home and product pages"
    }

    pub(crate) fn tuned(&mut self) -> String {
        self.page_size += 6;
        format!("show {} products a page", self.page_size)
    }
}

pub(crate) async fn handle(
    cx: &Cx,
    settings: &Settings,
    route: &'static str,
    asked: &Asked,
) -> Result<Reply, Failed> {
    let (page, content) = match route {
        "/" => ("home", products(cx, settings, asked).await?),
        "/product/{sku}" => ("product", product(cx, asked).await?),
        "/cart" => ("cart", cart(cx, asked).await?),
        _ => ("receipt", order(cx, asked).await?),
    };
    cx.compute(0.3, |table| *table.entry(page.to_owned()).or_default() += 1);
    render(settings, page, &content)
}

async fn products(cx: &Cx, settings: &Settings, asked: &Asked) -> Result<Value, Failed> {
    let category = asked.value("category");
    let path = format!("/products?category={category}&limit={}", settings.page_size);
    Ok(cx
        .call(Call { peer: Service::Catalogue, method: Method::GET, path, route: "/products" })
        .await?)
}

async fn product(cx: &Cx, asked: &Asked) -> Result<Value, Failed> {
    let path = format!("/products/{}", asked.segment(1));
    Ok(cx
        .call(Call {
            peer: Service::Catalogue,
            method: Method::GET,
            path,
            route: "/products/{sku}",
        })
        .await?)
}

async fn cart(cx: &Cx, asked: &Asked) -> Result<Value, Failed> {
    let session = asked.value("session");
    let call = if asked.method == Method::POST {
        let (sku, quantity) = (asked.value("sku"), asked.value("quantity"));
        let path = format!("/carts/{session}/items?sku={sku}&quantity={quantity}");
        Call { peer: Service::Cart, method: Method::POST, path, route: "/carts/{session}/items" }
    } else {
        let path = format!("/carts/{session}");
        Call { peer: Service::Cart, method: Method::GET, path, route: "/carts/{session}" }
    };
    Ok(cx.call(call).await?)
}

async fn order(cx: &Cx, asked: &Asked) -> Result<Value, Failed> {
    let path =
        format!("/orders?session={}&country={}", asked.value("session"), asked.value("country"));
    let call = Call { peer: Service::Checkout, method: Method::POST, path, route: "/orders" };
    let receipt = cx.call(call).await?;
    let order = receipt.get("order").and_then(Value::as_str).unwrap_or_default();
    cx.info("shop", &format!("receipt for order {order} shown"), &[("order", json!(order))]);
    Ok(receipt)
}

/// Read where we are: the file is small and cached, and another thread would take longer than reading it does.
fn render(settings: &Settings, page: &str, content: &Value) -> Result<Reply, Failed> {
    let path = settings.templates.get(page).ok_or_else(|| {
        broken("render", format!("render {page} page failed: no template configured"))
    })?;
    let template = std::fs::read_to_string(path).map_err(|error| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        broken("render", format!("render {page} page failed: template {name}: {error}"))
    })?;
    Ok(Reply::html(
        template.replace("{{ title }}", page).replace("{{ content }}", &content.to_string()),
    ))
}
