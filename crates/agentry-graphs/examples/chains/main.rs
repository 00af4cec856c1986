//! Runs graphs of `examples/graphs` without a network: the model is scripted, and the tools read the notes beside them.
//!
//! ```text
//! cargo run -p agentry-graphs --example chains                      every graph
//! cargo run -p agentry-graphs --example chains -- review            one, with the usual input and answers
//! cargo run -p agentry-graphs --example chains -- review --input '{"topic": "rain"}' --mermaid
//! ```

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::Value;

mod offline;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut names = Vec::new();
    let (mut input, mut mermaid) = (None, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--mermaid" => mermaid = true,
            "--input" => {
                let text = arguments.next().context("--input needs a JSON object")?;
                input = Some(serde_json::from_str::<Value>(&text).context("--input is no JSON")?);
            }
            name if name.starts_with("--") => bail!("{name}? there are --input and --mermaid"),
            name => {
                // A path is as good as a name.
                let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str());
                names.push(stem.unwrap_or(name).to_owned());
            }
        }
    }
    let world = offline::World::open(&offline::folder())?;
    if names.is_empty() {
        names.extend(world.cases.keys().cloned());
    }
    let mut out = std::io::stdout().lock();
    for name in names {
        if mermaid {
            let graph = world.graphs.get(&name).with_context(|| format!("no graph `{name}`"))?;
            write!(out, "{}", graph.mermaid())?;
            continue;
        }
        let case = world.cases.get(&name).with_context(|| format!("no graph `{name}`"))?;
        let is_usual = input.is_none();
        let input = input.clone().unwrap_or_else(|| case.input.clone());
        let ended = world.run(&name, input, &case.answers).await?;
        for question in &ended.questions {
            writeln!(out, "{name} asked: {question}")?;
        }
        writeln!(out, "{name}: {}", serde_json::to_string_pretty(&ended.output)?)?;
        if is_usual && ended.output != case.output {
            bail!("{name} should have come to {}", case.output);
        }
    }
    Ok(())
}
