//! Every example of the documentation is a good configuration.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentry_agents::calculator::Calculator;
use agentry_agents::definition::{self, Around};
use agentry_core::tool::{Tool, ToolContext, ToolError, ToolOutput, ToolSpec, Toolbox};
use agentry_gateway::money::catalogue;
use agentry_graphs::{Catalogue, File, Graphs};
use agentry_llm::scripted::Script;
use async_trait::async_trait;
use serde_json::Value;

use crate::config::read_text;

/// What examples take for granted.
const GIVEN: [(&str, &str); 5] = [
    ("[providers.openai]", "kind = \"openai\"\napi_key = \"env:OPENAI_API_KEY\""),
    ("[providers.anthropic]", "kind = \"anthropic\"\napi_key = \"env:ANTHROPIC_API_KEY\""),
    ("[providers.local]", "kind = \"openai\"\nbase_url = \"http://127.0.0.1:8000/v1\""),
    ("[models.fast]", "targets = [\"openai/gpt-4o-mini\"]"),
    ("[models.local]", "targets = [\"local/qwen2.5-7b\"]"),
];

#[test]
fn every_example_is_accepted() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut count = 0;
    for path in pages(&docs) {
        let text = fs::read_to_string(&path).unwrap();
        for (line, kind, example) in examples(&text) {
            let place = format!("{}:{line}", path.display());
            match kind {
                "" => check(&place, &example),
                "answers.toml" => {
                    let read = Script::from_toml(&example);
                    assert!(read.is_ok(), "{place}: {:?}", read.err());
                }
                "prices.toml" => {
                    let read = catalogue::Catalogue::parse(&example);
                    assert!(read.is_ok(), "{place}: {:?}", read.err());
                }
                "graph" => check_graph(&place, example),
                "agent" => check_agent(&place, &example),
                // Of a graph.
                "part" => {
                    let read = toml::from_str::<toml::Table>(&example);
                    assert!(read.is_ok(), "{place}: {:?}", read.err());
                }
                other => panic!("{place}: it is not known what `{other}` is"),
            }
            count += 1;
        }
    }
    assert!(count > 10, "only {count} examples were found in {}", docs.display());
}

fn check_graph(place: &str, text: String) {
    let file = File { name: "example.toml".to_owned(), text };
    if let Err(problems) = Graphs::read(&[file], &Catalogue::default()) {
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{place}: {}", shown.join("\n"));
    }
}

fn check_agent(place: &str, text: &str) {
    let stock = ToolSpec { name: "stock".to_owned(), ..Calculator::default().spec().clone() };
    let tools = Toolbox::new().with(Arc::new(Calculator::default())).with(Arc::new(Named(stock)));
    let file = definition::File { name: "example.toml", text };
    if let Err(problems) = definition::read(&[file], Around { models: None, tools: &tools }) {
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{place}: {}", shown.join("\n"));
    }
}

/// A tool that is only there.
struct Named(ToolSpec);

#[async_trait]
impl Tool for Named {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, _: &ToolContext, arguments: Value) -> Result<ToolOutput, ToolError> {
        Ok(ToolOutput(arguments))
    }
}

#[test]
fn every_table_has_an_example() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let pages: Vec<String> =
        pages(&docs).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let examples = pages.iter().flat_map(|page| examples(page));
    let examples: String = examples.map(|(_, _, text)| format!("\n{text}")).collect();
    // An unknown table makes the reader list those that it knows.
    let folder = tempfile::tempdir().unwrap();
    let said = read_text("[zzzzzzzzzz]", folder.path(), &BTreeMap::new()).unwrap_err().to_string();
    let tables = said.lines().find_map(|line| line.trim().strip_prefix("= there are "));
    for table in tables.expect("the tables").split(", ") {
        let is_there = ["[", "[["].iter().any(|open| {
            [".", "]"].iter().any(|end| examples.contains(&format!("\n{open}{table}{end}")))
        });
        assert!(is_there, "no page has an example of `{table}`");
    }
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect();
    pages.sort();
    pages
}

/// The line, what stands behind `toml`, and the text of each block.
fn examples(page: &str) -> Vec<(usize, &str, String)> {
    let mut examples = Vec::new();
    let mut open: Option<(usize, &str, String)> = None;
    for (number, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```toml")) {
            (None, Some(kind)) => open = Some((number + 1, kind.trim(), String::new())),
            (None, None) => {}
            (Some(_), _) if line == "```" => examples.extend(open.take()),
            (Some((_, _, text)), _) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a block is not closed");
    examples
}

fn check(place: &str, example: &str) {
    let folder = tempfile::tempdir().unwrap();
    // Paths of a real machine become those of a made-up one.
    let mut text = example.replace(":/var/", ":var/").replace("\"/var/", "\"var/");
    text = text.replace(":/etc/", ":etc/");
    for (table, body) in GIVEN {
        if !text.contains(table) {
            text.push_str(&format!("\n{table}\n{body}\n"));
        }
    }
    let mut environment = BTreeMap::new();
    for (number, word) in text.split('"').skip(1).step_by(2).enumerate() {
        let secret = format!("0123456789abcdef0123456789abcd{number:02x}");
        if let Some(name) = word.strip_prefix("env:") {
            let value = match name {
                "DATABASE_URL" => "postgres://agentry:secret@db.internal/agentry".to_owned(),
                // 32 bytes in base64.
                "AGENTRY_ENCRYPTION_KEY" | "NEW_KEY" | "OLD_KEY" => format!("{secret}0123456789Y="),
                _ => secret,
            };
            environment.insert(name.to_owned(), value);
        } else if let Some(path) = word.strip_prefix("file:") {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, secret).unwrap();
        } else if let Some(path) = word.strip_prefix("dir:") {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        } else if word == "prices.toml" {
            fs::write(folder.path().join(word), "").unwrap();
        }
    }
    if let Err(error) = read_text(&text, folder.path(), &environment) {
        panic!("{place}: {error}");
    }
}
