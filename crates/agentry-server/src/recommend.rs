//! Which model to take: `/v1/models/recommend`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentry_balance::Snapshot;
use agentry_gateway::Target;
use agentry_gateway::money::catalogue::{Can, Catalogue, Model, STRENGTHS};
use agentry_gateway::money::recommend::{Candidate, Measured, Query, Ranked, Weights, recommend};
use agentry_identity::Caller;
use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::parameters::Parameters;
use crate::{App, Refusal};

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/models/recommend", get(recommended))
}

pub(crate) const PATHS: &[&str] = &["/v1/models/recommend"];

const INPUT_TOKENS_USUAL: u64 = 1_000;
const OUTPUT_TOKENS_USUAL: u64 = 500;
/// How much more a preferred thing matters.
const PREFERRED: u32 = 5;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    /// Several with commas between them.
    needs: Option<String>,
    strengths: Option<String>,
    prefer: Option<String>,
    /// `configured`, or `catalogue` for every model that is known.
    among: Option<String>,
}

async fn recommended(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Parameters(asked): Parameters<Asked>,
) -> Result<Json<Value>, Refusal> {
    let among = asked.among.clone().unwrap_or_else(|| "configured".to_owned());
    let query = asked.read()?;
    let catalogue = app.catalogue.get();
    let known = match among.as_str() {
        "configured" => Known::configured(&app, &caller, &catalogue),
        "catalogue" => Known::catalogued(&catalogue),
        other => {
            return Err(wrong("among", format!("`{other}` is not `configured` or `catalogue`")));
        }
    };
    let candidates: Vec<Candidate<'_>> = known
        .models
        .iter()
        .map(|(name, one)| Candidate { name, model: &one.model, measured: one.measured })
        .collect();
    let found = recommend(&query, &candidates);
    let ranked: Vec<Value> = found.ranked.iter().map(|ranked| known.of_ranked(ranked)).collect();
    let mut unfit: Vec<Value> =
        found.unfit.iter().map(|(name, lack)| json!({ "target": name, "because": lack })).collect();
    unfit.extend(known.unknown.iter().map(|name| {
        json!({
            "target": name,
            "because": "the catalogue does not know it: add it to the file of [catalogue]",
        })
    }));
    let Query { input_tokens, output_tokens, strengths, .. } = &query;
    Ok(Json(json!({
        "object": "recommendation",
        "for": { "input_tokens": input_tokens, "output_tokens": output_tokens, "strengths": strengths },
        "prices_as_of": catalogue.as_of,
        "data": ranked,
        "unfit": unfit,
    })))
}

/// All that can be recommended.
#[derive(Default)]
struct Known {
    /// By `provider/model`.
    models: BTreeMap<String, One>,
    /// Those of which nothing is known.
    unknown: BTreeSet<String>,
}

struct One {
    model: Model,
    measured: Option<Measured>,
    /// The names under which callers reach it.
    aliases: Vec<String>,
}

impl Known {
    /// Those that the caller may use.
    fn configured(app: &App, caller: &Caller, catalogue: &Catalogue) -> Self {
        let measured: BTreeMap<String, Measured> = app
            .gateway
            .targets()
            .into_iter()
            .filter_map(|(name, is)| Some((name.to_string(), measure(&is)?)))
            .collect();
        let mut known = Self::default();
        let models = app.gateway.models();
        for alias in models.iter().filter(|alias| caller.may_use(&alias.name).is_ok()) {
            for target in &alias.targets {
                let name = target.name();
                if let Some(one) = known.models.get_mut(&name) {
                    one.aliases.push(alias.name.clone());
                    continue;
                }
                let Some(model) = model(catalogue, target) else {
                    known.unknown.insert(name);
                    continue;
                };
                let measured = measured.get(&name).copied();
                let aliases = vec![alias.name.clone()];
                known.models.insert(name, One { model, measured, aliases });
            }
        }
        known
    }

    fn catalogued(catalogue: &Catalogue) -> Self {
        let one = |(name, model): (String, &Model)| {
            (name, One { model: model.clone(), measured: None, aliases: Vec::new() })
        };
        Self { models: catalogue.models().map(one).collect(), unknown: BTreeSet::new() }
    }

    fn of_ranked(&self, ranked: &Ranked) -> Value {
        let Ranked { name, score, cost, reasons } = ranked;
        let aliases = self.models.get(name).map(|one| one.aliases.as_slice()).unwrap_or_default();
        json!({
            "target": name,
            "models": aliases,
            "score": score,
            "cost_usd": cost.0 as f64 / 1e6,
            "reasons": reasons,
        })
    }
}

/// What the operator says that it costs counts more than the catalogue.
fn model(catalogue: &Catalogue, target: &Target) -> Option<Model> {
    let known = catalogue.find(&target.provider, &target.model).cloned();
    // A provider may be called anything here: then the model's own name must do.
    let same = |(name, model): (String, &Model)| {
        let is = name.split_once('/').is_some_and(|(_, name)| name == target.model);
        is.then(|| model.clone())
    };
    let mut model = known.or_else(|| catalogue.models().find_map(same))?;
    if let Some(price) = target.price {
        (model.rates, model.long) = (price, None);
    }
    Some(model)
}

/// Nothing when it has answered nobody lately.
fn measure(is: &Snapshot) -> Option<Measured> {
    let successes = (is.success_rate * 1_000.0).round() as u32;
    (is.total.calls > 0).then_some(Measured { latency_p50: is.total.p50, successes })
}

impl Asked {
    fn read(self) -> Result<Query, Refusal> {
        let Self { input_tokens, output_tokens, needs, strengths, prefer, among: _ } = self;
        let mut can = Can::default();
        for need in list(needs.as_deref()) {
            match need {
                "tools" => can.tools = true,
                "images" => can.images = true,
                "json_schema" => can.json_schema = true,
                "reasoning" => can.reasoning = true,
                other => {
                    let kinds = "tools, images, json_schema, reasoning";
                    return Err(wrong("needs", format!("`{other}` is none of {kinds}")));
                }
            }
        }
        let mut wanted = BTreeSet::new();
        for strength in list(strengths.as_deref()) {
            if !STRENGTHS.contains(&strength) {
                let kinds = STRENGTHS.join(", ");
                return Err(wrong("strengths", format!("`{strength}` is none of {kinds}")));
            }
            wanted.insert(strength.to_owned());
        }
        let mut weights = Weights::default();
        for thing in list(prefer.as_deref()) {
            let weight = match thing {
                "cost" => &mut weights.cost,
                "latency" => &mut weights.latency,
                "context" => &mut weights.context,
                "strengths" => &mut weights.strengths,
                other => {
                    let kinds = "cost, latency, context, strengths";
                    return Err(wrong("prefer", format!("`{other}` is none of {kinds}")));
                }
            };
            *weight *= PREFERRED;
        }
        Ok(Query {
            input_tokens: input_tokens.unwrap_or(INPUT_TOKENS_USUAL),
            output_tokens: output_tokens.unwrap_or(OUTPUT_TOKENS_USUAL),
            needs: can,
            strengths: wanted,
            weights,
        })
    }
}

fn list(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn wrong(name: &'static str, message: String) -> Refusal {
    Refusal::bad_request("parameters_invalid", message).param(name)
}
