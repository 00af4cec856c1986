//! A question to a person.

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_engine::{Ask, Class, NodeError, Reply, effect};
use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{Came, Visit, Work, fatal};
use crate::definition::Human;
use crate::types::{Fields, Type};
use crate::view::View;

/// Somebody who is not understood that often will not be the next time.
const ANSWERS_MAX: u32 = 5;

pub(crate) struct HumanWork {
    pub(crate) human: Human,
}

/// What an answer looks like in the state.
pub(crate) fn answer_type(human: &Human) -> Type {
    let mut known = BTreeMap::from([
        ("by".to_owned(), Type::Any),
        ("at".to_owned(), Type::Text),
        ("expired".to_owned(), Type::Bool),
    ]);
    if !human.options.is_empty() {
        known.insert("decision".to_owned(), Type::Text);
    }
    match human.schema.as_ref().map(|schema| Type::of_schema(schema.value.source())) {
        Some(Type::Object(fields)) => known.extend(fields.known),
        Some(other) => {
            known.insert("value".to_owned(), other);
        }
        None => {}
    }
    // People may say more than they are asked.
    Type::Object(Fields { known, open: true })
}

impl HumanWork {
    fn ask(&self, view: &View<'_>, number: u32, wrong: Option<String>) -> Result<Ask, String> {
        let Human { question, options, show, schema, deadline: _, escalate: _, on_timeout: _ } =
            &self.human;
        let mut shown = Map::new();
        shown.insert("question".to_owned(), view.render(question)?.into());
        if !options.is_empty() {
            shown.insert("options".to_owned(), json!(options));
        }
        if let Some(schema) = schema {
            shown.insert("schema".to_owned(), schema.value.source().clone());
        }
        if !show.is_empty() {
            let state = show.iter().map(|key| (key.value.clone(), view.typed(&key.value).0));
            shown.insert("state".to_owned(), Value::Object(state.collect()));
        }
        if let Some(wrong) = wrong {
            shown.insert("problem".to_owned(), wrong.into());
        }
        let ask = Ask::question(&name(number), Value::Object(shown));
        Ok(match schema {
            Some(schema) if options.is_empty() => ask.schema(schema.value.source().clone()),
            _ => ask,
        })
    }

    /// The answer as the state keeps it, or what is wrong with it.
    fn read(&self, reply: &Reply) -> Result<Value, String> {
        let Human { options, schema, .. } = &self.human;
        let mut answer = match &reply.value {
            Value::Object(fields) => fields.clone(),
            Value::String(said) if !options.is_empty() => {
                Map::from_iter([("decision".to_owned(), said.as_str().into())])
            }
            other => Map::from_iter([("value".to_owned(), other.clone())]),
        };
        if !options.is_empty() {
            let decision = answer.get("decision").and_then(Value::as_str);
            if !decision.is_some_and(|decision| options.iter().any(|option| option == decision)) {
                return Err(format!("answer with one of: {}", options.join(", ")));
            }
        }
        if let Some(schema) = schema {
            let held = match reply.value {
                Value::String(_) if !options.is_empty() => Value::Object(answer.clone()),
                ref value => value.clone(),
            };
            let complaints = schema.value.complaints(&held);
            if !complaints.is_empty() {
                return Err(format!("the answer does not fit: {}", complaints.join("; ")));
            }
        }
        answer.insert("by".to_owned(), json!(reply.actor));
        answer.insert("at".to_owned(), reply.at.to_string().into());
        answer.insert("expired".to_owned(), reply.expired().into());
        Ok(Value::Object(answer))
    }

    /// The same moment however often the node runs: the clock is read once.
    async fn deadline(&self, visit: &Visit<'_>, span: Duration) -> Result<Timestamp, NodeError> {
        let now = visit.now();
        let asked = visit.effect("asked", Class::Idempotent, |_| async move {
            Ok::<_, effect::Undone>(now.to_string().into())
        });
        let asked = asked.await?;
        let asked = asked.as_str().and_then(|text| text.parse::<Timestamp>().ok());
        Ok(asked.unwrap_or(now).plus(span))
    }
}

fn name(number: u32) -> String {
    match number {
        0 => "answer".to_owned(),
        number => format!("answer-{number}"),
    }
}

#[async_trait]
impl Work for HumanWork {
    async fn run(&self, visit: &Visit<'_>, view: &View<'_>) -> Result<Came, NodeError> {
        let mut wrong = None;
        for number in 0..ANSWERS_MAX {
            let Some(reply) = visit.answer(&name(number)) else {
                let ask = self.ask(view, number, wrong).map_err(fatal)?;
                let ask = match (&self.human.deadline, &self.human.on_timeout) {
                    (Some(span), Some(on_timeout)) => {
                        let deadline = self.deadline(visit, span.value).await?;
                        let ask = ask.deadline(deadline, on_timeout.value.clone());
                        let next = self.human.escalate.iter();
                        next.fold(ask, |ask, next| ask.escalate(&next.to, next.within))
                    }
                    _ => ask,
                };
                return Ok(Came::Asks(Box::new(ask)));
            };
            match self.read(reply) {
                Ok(answer) => return Ok(Came::To(answer)),
                Err(problem) if reply.expired() => return Err(fatal(problem)),
                Err(problem) => wrong = Some(problem),
            }
        }
        Err(fatal(format!("no answer was understood: {}", wrong.unwrap_or_default())))
    }
}
