//! `agentry ask`: puts a question to a model, or says which model to put it to.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use crate::cli::{Context, Ended, Exit};
use crate::operate::{Target, agent, block};
use crate::terminal::Terminal;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The question, or what is to be done
    #[arg(required = true)]
    text: Vec<String>,
    /// The model to ask
    #[arg(long, value_name = "NAME", default_value = "default")]
    model: String,
    /// Ask nobody: say which models would be good for it, and why
    #[arg(long)]
    recommend: bool,
    /// With --recommend: what matters most, of cost, latency, context and strengths
    #[arg(long, value_name = "WHAT", value_delimiter = ',', requires = "recommend")]
    prefer: Vec<String>,
    /// With --recommend: what it must be able to do, of tools, images, json_schema and reasoning
    #[arg(long, value_name = "WHAT", value_delimiter = ',', requires = "recommend")]
    needs: Vec<String>,
    /// With --recommend: all models of the catalogue, not only those that are configured
    #[arg(long, requires = "recommend")]
    all: bool,
}

pub(crate) fn run(cx: &Context, options: Options) -> Result<Exit, Ended> {
    let agent = agent(cx, &options.target)?;
    let terminal = cx.terminal;
    let text = options.text.join(" ");
    block(async {
        if options.recommend {
            let path = format!("/v1/models/recommend?{}", query(&options, &text));
            tell(terminal, &agent.get(&path).await?)?;
        } else {
            let message = json!({ "role": "user", "content": text });
            let body = json!({ "model": options.model, "messages": [message] });
            let answer = agent.ask("/v1/chat/completions", &body).await?;
            let said = answer.pointer("/choices/0/message/content").and_then(Value::as_str);
            match (terminal.json, said) {
                (true, _) => terminal.object(&answer),
                (false, Some(said)) => terminal.data(said),
                (false, None) => bail!("the model has answered without any text"),
            }
        }
        Ok(Exit::Done)
    })
}

fn query(options: &Options, text: &str) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("input_tokens", &tokens(text).to_string());
    let strengths: Vec<&str> = strengths(text).into_iter().collect();
    let (prefer, needs) = (options.prefer.join(","), options.needs.join(","));
    for (name, list) in [("strengths", strengths.join(",")), ("prefer", prefer), ("needs", needs)] {
        if !list.is_empty() {
            query.append_pair(name, &list);
        }
    }
    if options.all {
        query.append_pair("among", "catalogue");
    }
    query.finish()
}

/// About so many; a short question has a history and instructions around it.
fn tokens(text: &str) -> u64 {
    const AROUND: u64 = 500;
    AROUND + text.len() as u64 / 4
}

/// By which words a text shows what a model should be good at for it.
const SIGNS: [(&str, &[&str]); 6] = [
    ("agents", &["agent", "agents", "tool", "tools", "browse", "workflow", "automate"]),
    (
        "coding",
        &[
            "bug",
            "code",
            "coding",
            "compile",
            "debug",
            "function",
            "program",
            "python",
            "refactor",
            "rust",
            "script",
            "sql",
            "typescript",
            "javascript",
            "java",
            "unit",
        ],
    ),
    (
        "long_context",
        &["book", "codebase", "contract", "document", "documents", "report", "transcript"],
    ),
    (
        "multilingual",
        &[
            "translate",
            "translation",
            "french",
            "german",
            "spanish",
            "chinese",
            "japanese",
            "hindi",
        ],
    ),
    (
        "reasoning",
        &[
            "analyse", "analyze", "compare", "derive", "math", "plan", "proof", "prove", "solve",
            "why",
        ],
    ),
    (
        "writing",
        &["article", "blog", "draft", "email", "essay", "letter", "poem", "rewrite", "story"],
    ),
];

fn strengths(text: &str) -> BTreeSet<&'static str> {
    let lower = text.to_lowercase();
    let words: BTreeSet<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
    let shown = SIGNS.iter().filter(|(_, signs)| signs.iter().any(|sign| words.contains(sign)));
    shown.map(|(strength, _)| *strength).collect()
}

fn tell(terminal: Terminal, found: &Value) -> anyhow::Result<()> {
    if terminal.json {
        terminal.object(found);
        return Ok(());
    }
    let rows = found.get("data").and_then(Value::as_array).context("the answer has no models")?;
    if rows.is_empty() {
        terminal.note(
            "no model can do that: `agentry ask --recommend --all` looks at all that are known",
        );
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let texts = |value: Option<&Value>| -> Vec<String> {
        value.and_then(Value::as_array).into_iter().flatten().map(text).collect()
    };
    for row in rows {
        let (name, names) = (row.get("target").map(text), texts(row.get("models")));
        let score = row.get("score").and_then(Value::as_u64).unwrap_or(0);
        let called =
            if names.is_empty() { String::new() } else { format!("  as {}", names.join(", ")) };
        terminal.data(format_args!("{score:>4}  {}{called}", name.unwrap_or_default()));
        terminal.data(format_args!("      {}", texts(row.get("reasons")).join("; ")));
    }
    for row in found.get("unfit").and_then(Value::as_array).into_iter().flatten() {
        let part = |name: &str| row.get(name).map(text).unwrap_or_default();
        terminal.note(format_args!("   -  {}: {}", part("target"), part("because")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use agentry_gateway::money::catalogue::STRENGTHS;

    use super::*;

    #[test]
    fn a_question_shows_what_a_model_should_be_good_at() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<&str> = strengths(text).into_iter().collect();
            assert_eq!(found, expected, "{text}");
        };
        check("What is the capital of France?", &[]);
        check("Refactor this Rust function.", &["coding"]);
        check("Translate the contract into German", &["long_context", "multilingual"]);
        check("PROVE it, then write a blog about it", &["reasoning", "writing"]);
        check("a decoder ring", &[]);
    }

    #[test]
    fn only_strengths_that_there_are_can_be_shown() {
        for (strength, _) in SIGNS {
            assert!(STRENGTHS.contains(&strength), "{strength}");
        }
    }
}
