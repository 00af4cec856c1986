//! The result as text.

use std::fmt::Write as _;

use super::models::{Model, Models, Price, Target};
use super::settings::Settings;

/// Writing into a string does not fail, so nobody looks at the results.
pub(super) fn write(models: &Models, settings: &Settings, notes: &[String]) -> String {
    let mut out = String::from(
        "# Made from a LiteLLM configuration. `agentry check` says whether it is complete.\n",
    );
    if !notes.is_empty() {
        out.push_str("#\n# What is not as it was there:\n");
        for note in notes {
            let _ = writeln!(out, "#   {}", note.replace(['\n', '\r'], " "));
        }
    }
    out.push_str("\n[server]\nlisten = \"127.0.0.1:7171\"\n");
    for provider in &models.providers {
        let _ =
            writeln!(out, "\n[providers.{}]\nkind = \"{}\"", key(&provider.name), provider.kind);
        for (name, value) in &provider.fields {
            let _ = writeln!(out, "{name} = {}", text(value));
        }
    }
    for model in &models.list {
        write_model(&mut out, model);
    }
    write_settings(&mut out, settings);
    out
}

fn write_model(out: &mut String, model: &Model) {
    let Model {
        name,
        same_as: _,
        targets,
        strategy,
        fallbacks,
        retries,
        timeout,
        first_token_timeout,
    } = model;
    let _ = writeln!(out, "\n[models.{}]", key(name));
    let written: Vec<String> = targets.iter().map(target).collect();
    match written.as_slice() {
        [one] => drop(writeln!(out, "targets = [{one}]")),
        many => {
            out.push_str("targets = [\n");
            for one in many {
                let _ = writeln!(out, "  {one},");
            }
            out.push_str("]\n");
        }
    }
    if let Some(strategy) = strategy {
        let _ = writeln!(out, "strategy = \"{strategy}\"");
    }
    if !fallbacks.is_empty() {
        let names: Vec<String> = fallbacks.iter().map(|name| text(name)).collect();
        let _ = writeln!(out, "fallbacks = [{}]", names.join(", "));
    }
    if let Some(retries) = retries {
        let _ = writeln!(out, "retries = {retries}");
    }
    write_seconds(out, "timeout", *timeout);
    write_seconds(out, "first_token_timeout", *first_token_timeout);
}

fn target(target: &Target) -> String {
    let Target { name, weight, price, output_tokens_max } = target;
    let mut fields = Vec::new();
    fields.extend(weight.map(|weight| format!("weight = {weight}")));
    if let Some(Price { input, output, cached_input, cache_write }) = price {
        let mut prices = vec![format!("input = {input}"), format!("output = {output}")];
        prices.extend(cached_input.map(|price| format!("cached_input = {price}")));
        prices.extend(cache_write.map(|price| format!("cache_write = {price}")));
        fields.push(format!("price = {{ {} }}", prices.join(", ")));
    }
    fields.extend(output_tokens_max.map(|tokens| format!("output_tokens_max = {tokens}")));
    if fields.is_empty() {
        text(name)
    } else {
        format!("{{ target = {}, {} }}", text(name), fields.join(", "))
    }
}

fn write_settings(out: &mut String, settings: &Settings) {
    let Settings {
        breaker_failures,
        breaker_open_for,
        cache,
        shared_url,
        ledger_url,
        master_key,
        budget,
    } = settings;
    if breaker_failures.is_some() || breaker_open_for.is_some() {
        out.push_str("\n[breaker]\n");
        if let Some(failures) = breaker_failures {
            let _ = writeln!(out, "failures = {failures}");
        }
        write_seconds(out, "open_for", *breaker_open_for);
    }
    if let Some(cache) = cache {
        out.push_str("\n[cache]\nexact = true\n");
        write_seconds(out, "ttl", cache.ttl);
    }
    for (table, url) in [("shared", shared_url), ("ledger", ledger_url)] {
        if let Some(url) = url {
            let _ = writeln!(out, "\n[{table}]\nurl = {}", text(url));
        }
    }
    if let Some(secret) = master_key {
        let _ = writeln!(
            out,
            "\n[[keys]]\nname = \"master\"\nsecret = {}\nscopes = [\"*\", \"operator\"]",
            text(secret)
        );
    }
    if let Some((usd, per)) = budget {
        let _ = writeln!(
            out,
            "\n[[budgets]]\nfor = \"tenant\"\nbudget = {{ usd = {usd}, per = \"{per}\" }}"
        );
    }
}

/// What is no duration here is left to the default.
fn write_seconds(out: &mut String, name: &str, seconds: Option<f64>) {
    const YEAR: f64 = 366.0 * 86_400.0;
    let Some(seconds) = seconds.filter(|seconds| (0.001..=YEAR).contains(seconds)) else { return };
    let _ = if seconds.fract() == 0.0 {
        writeln!(out, "{name} = \"{seconds}s\"")
    } else {
        writeln!(out, "{name} = \"{}ms\"", (seconds * 1e3).round())
    };
}

fn text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn key(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.bytes().all(is_bare) { name.to_owned() } else { text(name) }
}
