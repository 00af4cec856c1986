//! What a graph is given on the command line.

use agentry_graphs::Graphs;
use agentry_graphs::types::Type;
use anyhow::{Context as _, anyhow, bail};
use serde_json::{Map, Value, json};

use super::Options;
use crate::threads::NAME;

/// `--input`, and over it the fields that are given one by one.
pub(super) fn read(graphs: &Graphs, options: &Options) -> anyhow::Result<Value> {
    let whole = options.input.as_deref().map(serde_json::from_str::<Value>).transpose();
    let whole = whole.context("--input is no JSON")?;
    let Some(definition) = graphs.get(&options.graph) else {
        if options.graph == NAME {
            return question(whole, &options.fields);
        }
        let names: Vec<&str> = graphs.names().collect();
        let known = match names.as_slice() {
            [] => "there are none under graphs/; `agentry init` writes one".to_owned(),
            names => format!("there are: {}", names.join(", ")),
        };
        bail!("there is no graph `{}`; {known}", options.graph);
    };
    if options.fields.is_empty() {
        return Ok(whole.unwrap_or_else(|| Value::Object(Map::new())));
    }
    let mut given = match whole {
        None => Map::new(),
        Some(Value::Object(given)) => given,
        Some(_) => bail!("--input is no object, so KEY=VALUE cannot be added to it"),
    };
    for field in &options.fields {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| anyhow!("`{field}` is not of the form KEY=VALUE"))?;
        let input = definition.input.as_ref().and_then(|fields| fields.get(key)).map(|it| &it.of);
        let of = input.or_else(|| definition.state.get(key).map(|it| &it.of));
        given.insert(key.to_owned(), value_of(value, of));
    }
    Ok(Value::Object(given))
}

/// `--settings`.
pub(super) fn settings(options: &Options) -> anyhow::Result<Map<String, Value>> {
    let Some(text) = &options.settings else { return Ok(Map::new()) };
    match serde_json::from_str(text).context("--settings is no JSON")? {
        Value::Object(settings) => Ok(settings),
        _ => bail!("--settings is no object: write it as --settings '{{\"NAME\": VALUE}}'"),
    }
}

/// What the agent is asked: the words as they stand, or messages.
fn question(whole: Option<Value>, words: &[String]) -> anyhow::Result<Value> {
    match (whole, words) {
        (Some(whole), []) => Ok(whole),
        (None, []) => {
            bail!("say what `{NAME}` is asked, as in: agentry run {NAME} \"Why does it rain?\"")
        }
        (None, words) => {
            Ok(json!({ "messages": [{ "role": "user", "content": words.join(" ") }] }))
        }
        (Some(_), _) => bail!("`{NAME}` takes either --input or a question"),
    }
}

/// A text where a text is wanted, whatever it looks like.
fn value_of(text: &str, of: Option<&Type>) -> Value {
    let is_text = of == Some(&Type::Text);
    let value = if is_text { None } else { serde_json::from_str(text).ok() };
    value.unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    use agentry_graphs::{Catalogue, File};

    use super::*;

    #[test]
    fn fields_become_what_the_graph_wants() {
        let text = "[input]\ntopic = \"string\"\nlength = \"integer\"\n[nodes.a]\nkind = \"set\"\nvalues = { x = \"1\" }\n[state]\nx = \"last\"\n";
        let file = File { name: "graphs/small.toml".to_owned(), text: text.to_owned() };
        let graphs = Graphs::read(&[file], &Catalogue::default()).unwrap();
        let check =
            |graph: &str, input: Option<&str>, fields: &[&str], expected: Result<Value, &str>| {
                let options = Options {
                    graph: graph.to_owned(),
                    fields: fields.iter().map(|field| (*field).to_owned()).collect(),
                    input: input.map(str::to_owned),
                    settings: None,
                    ephemeral: false,
                };
                match (read(&graphs, &options), expected) {
                    (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                    (Err(found), Err(expected)) => {
                        assert!(format!("{found:#}").contains(expected), "{found:#}");
                    }
                    (found, expected) => panic!("{found:?}, expected {expected:?}"),
                }
            };
        check("small", None, &[], Ok(json!({})));
        check("small", None, &["topic=7", "length=7"], Ok(json!({ "topic": "7", "length": 7 })));
        check("small", None, &["topic=a=b", "x=[1]"], Ok(json!({ "topic": "a=b", "x": [1] })));
        check("small", None, &["x=no json"], Ok(json!({ "x": "no json" })));
        let whole = Some(r#"{"topic":"rain","length":1}"#);
        check("small", whole, &["length=2"], Ok(json!({ "topic": "rain", "length": 2 })));
        check("small", Some("[1]"), &[], Ok(json!([1])));
        check("small", Some("[1]"), &["x=1"], Err("no object"));
        check("small", Some("{"), &[], Err("--input is no JSON"));
        check("small", None, &["rain"], Err("`rain` is not of the form KEY=VALUE"));
        let asked = json!({ "messages": [{ "role": "user", "content": "why a=b?" }] });
        check("agent", None, &["why", "a=b?"], Ok(asked));
        check("agent", None, &[], Err("say what `agent` is asked"));
        check("agent", Some("{}"), &["why"], Err("either --input or a question"));
        check("other", None, &[], Err("there is no graph `other`; there are: small"));
    }
}
