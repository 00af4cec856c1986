//! What a run asks of a person, and what the person says.

use std::fmt;

use agentry_server::engine::{InterruptView, StateView};
use serde_json::{Map, Value, json};

use crate::terminal::{Terminal, harmless};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    id: String,
    node: String,
    value: Value,
}

impl Question {
    fn text(&self) -> String {
        match self.value.get("question").unwrap_or(&self.value) {
            Value::String(text) => harmless(text),
            other => harmless(&other.to_string()),
        }
    }

    fn options(&self) -> Vec<&str> {
        let options = self.value.get("options").and_then(Value::as_array);
        options.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// An answer as somebody may give it.
    pub(super) fn example(&self) -> String {
        self.options().first().map_or_else(|| "JSON".to_owned(), |option| (*option).to_owned())
    }

    pub(super) fn shown(&self) -> Value {
        json!({ "id": self.id, "node": self.node, "value": self.value })
    }

    /// What a line means: an option by name or number, with a reason after a colon, or else JSON or plain text.
    fn answer(&self, line: &str) -> Value {
        let (said, reason) = match line.split_once(':') {
            Some((said, reason)) => (said.trim(), Some(reason.trim())),
            None => (line, None),
        };
        let options = self.options();
        let number = said.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let by_number = number.and_then(|number| options.get(number));
        let chosen = options.iter().find(|option| **option == said).or(by_number);
        match (chosen, reason) {
            (Some(chosen), None) => json!({ "decision": chosen }),
            (Some(chosen), Some(reason)) => json!({ "decision": chosen, "reason": reason }),
            (None, _) => serde_json::from_str(line).unwrap_or_else(|_| line.into()),
        }
    }
}

/// With everything that a person sees beside it.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} asks: {}", self.node, self.text())?;
        let shown = self.value.get("state").and_then(Value::as_object);
        for (key, value) in shown.into_iter().flatten() {
            match value {
                Value::String(text) => write!(f, "\n  {key}: {}", harmless(text))?,
                other => write!(f, "\n  {key}: {}", harmless(&other.to_string()))?,
            }
        }
        if let Some(problem) = self.value.get("problem").and_then(Value::as_str) {
            write!(f, "\n  {}", harmless(problem))?;
        }
        for (number, option) in self.options().iter().enumerate() {
            write!(f, "\n  {}. {option}", number + 1)?;
        }
        Ok(())
    }
}

/// What waits for an answer.
pub(super) fn open(state: Option<&StateView>) -> Vec<Question> {
    let tasks = state.into_iter().flat_map(|state| &state.tasks);
    tasks
        .flat_map(|task| {
            task.interrupts.iter().map(|InterruptView { id, value, .. }| Question {
                id: id.clone(),
                node: task.name.clone(),
                value: value.clone(),
            })
        })
        .collect()
}

/// The same, of a state as it is told over HTTP.
pub(super) fn told(state: &Value) -> Vec<Question> {
    let tasks = state.get("tasks").and_then(Value::as_array).into_iter().flatten();
    let asked = tasks.flat_map(|task| {
        let node = task.get("name").and_then(Value::as_str).unwrap_or_default();
        let open = task.get("interrupts").and_then(Value::as_array).into_iter().flatten();
        open.filter_map(move |open| {
            let id = open.get("id").and_then(Value::as_str)?.to_owned();
            let value = open.get("value").cloned().unwrap_or_default();
            Some(Question { id, node: node.to_owned(), value })
        })
    });
    asked.collect()
}

/// Answers by question; nothing when there is nobody, or nothing is said.
pub(super) async fn ask(terminal: Terminal, asked: &[Question]) -> Option<Map<String, Value>> {
    if !terminal.is_interactive() || asked.is_empty() {
        return None;
    }
    let mut answers = Map::new();
    for question in asked {
        terminal.note(question);
        let line = terminal.ask("> ").await;
        let line = line.trim();
        if line.is_empty() {
            return None;
        }
        answers.insert(question.id.clone(), question.answer(line));
    }
    Some(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(value: Value) -> Question {
        Question { id: "1".to_owned(), node: "approve".to_owned(), value }
    }

    #[test]
    fn a_line_is_an_option_or_what_it_says() {
        let options = question(json!({ "question": "Good?", "options": ["approve", "modify"] }));
        let open = question(json!({ "question": "How many?" }));
        let check = |of: &Question, line: &str, expected: Value| {
            assert_eq!(of.answer(line), expected, "{line}");
        };
        check(&options, "approve", json!({ "decision": "approve" }));
        check(&options, "2", json!({ "decision": "modify" }));
        let reasoned = json!({ "decision": "modify", "reason": "more rain: much more" });
        check(&options, "modify: more rain: much more", reasoned);
        // What is not understood, the graph will ask again.
        check(&options, "3", json!(3));
        check(&options, "perhaps", json!("perhaps"));
        check(&open, "7", json!(7));
        check(&open, "a: b", json!("a: b"));
        check(&open, r#"{"a":1}"#, json!({ "a": 1 }));
    }

    #[test]
    fn a_person_sees_what_is_asked_and_what_it_is_about() {
        let asked = question(json!({
            "question": "Good?", "options": ["yes", "no"], "state": { "draft": "Rain.", "n": 2 },
            "problem": "answer with one of: yes, no",
        }));
        let expected = "\
approve asks: Good?
  draft: Rain.
  n: 2
  answer with one of: yes, no
  1. yes
  2. no";
        assert_eq!(asked.to_string(), expected);
        assert_eq!(question(json!("Why?")).to_string(), "approve asks: Why?");
    }
}
