use std::sync::Arc;

use super::*;
use crate::calculator::Calculator;

fn around(text: &str) -> Result<Definition, String> {
    let tools = Toolbox::new().with(Arc::new(Calculator::default()));
    let models = BTreeSet::from(["default".to_owned(), "fast".to_owned()]);
    let around = Around { models: Some(&models), tools: &tools };
    let read = read(&[File { name: "agents/sums.toml", text }], around);
    let read = read.map_err(|wrong| wrong.iter().map(ToString::to_string).collect::<String>());
    read.map(|agents| agents.into_values().next().unwrap())
}

#[test]
fn a_file_says_who_an_agent_is() {
    let text = "\
persona = \"You do sums.\"
temperature = 0.1
reasoning = \"react\"
tools = [\"calc*\"]
limits = { steps_max = 4, timeout = \"20s\" }
schema = { type = \"object\" }
";
    let Definition { name, model, tools, limits, schema, .. } = around(text).unwrap();
    assert_eq!((name.as_str(), model.as_str()), ("sums", "default"));
    assert_eq!(tools, ["calculator"]);
    let timeout = Duration::from_secs(20);
    assert_eq!(limits, Limits { steps_max: 4, tokens_max: None, timeout });
    assert!(schema.is_some());
    let Definition { tools, limits, reasoning, .. } = around("").unwrap();
    assert_eq!((tools.len(), limits.steps_max, reasoning), (0, 10, Reasoning::React));
}

#[test]
fn what_is_wrong_with_an_agent_is_said() {
    let check = |text: &str, expected: &str| {
        let problem = around(text).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    };
    check("tools = [\"calcluator\"]", "did you mean `calculator`?");
    check("tools = [\"mcp:files/*\"]", "there is no tool `mcp:files/*`");
    check("model = \"fsat\"", "did you mean `fast`?");
    check("name = \"two words\"", "cannot name an agent");
    check("reasoning = \"reflexion\"", "not available yet");
    check("reasoning = \"raect\"", "did you mean `react`?");
    check("reasoning = \"direct\"\ntools = [\"calculator\"]", "calls no tools");
    check("memory = { kind = \"buffer\" }", "`memory` is not available yet");
    check("limits = { cost_usd_max = 1 }", "`cost_usd_max` is not available yet");
    check("limits = { steps_max = 1000 }", "must be at most 100");
    check("instructions = \"x\"", "unknown key `instructions`");
    check("schema = { type = \"strnig\" }", "has a `type` that means nothing");
}
