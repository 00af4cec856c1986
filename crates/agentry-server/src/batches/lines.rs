//! The requests of a batch, each checked as if it were made now. All that is wrong is told at once.

use std::collections::HashSet;

use agentry_core::batches::NewItem;
use agentry_identity::{Caller, Scope};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Source, face};
use crate::question::{Endpoint, Question};
use crate::{App, Refusal};

/// Told one by one; the others are counted.
const PROBLEMS_MAX: usize = 20;
const CUSTOM_ID_BYTES_MAX: usize = 512;

#[derive(Deserialize)]
struct Line<'a> {
    custom_id: String,
    method: String,
    url: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// What is wrong, and where.
struct Problem {
    param: String,
    message: String,
}

impl Problem {
    fn new(param: &str, message: impl Into<String>) -> Self {
        Self { param: param.to_owned(), message: message.into() }
    }
}

pub(super) fn read(
    app: &App,
    caller: &Caller,
    (source, endpoint): (Source, Option<&str>),
) -> Result<Vec<NewItem>, Refusal> {
    let items_max = face(app)?.settings.items_max;
    let endpoint = endpoint.map(known).transpose().map_err(|problem| {
        Refusal::bad_request("batch_invalid", problem.message).param("endpoint")
    })?;
    let mut reading = Reading {
        app,
        caller,
        endpoint,
        seen: HashSet::new(),
        items: Vec::new(),
        told: Vec::new(),
        param: None,
        problems: 0,
    };
    match &source {
        Source::Inline(requests) => {
            for (number, request) in requests.iter().enumerate().take(items_max + 1) {
                reading.take(request.get(), &format!("requests[{number}]"));
            }
        }
        Source::Lines(lines) => {
            let text = std::str::from_utf8(lines).map_err(|broken| {
                let line = lines.iter().take(broken.valid_up_to()).filter(|b| **b == b'\n').count();
                let message = format!("line {} is not UTF-8", line + 1);
                Refusal::bad_request("batch_invalid", message)
            })?;
            let full = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
            for (number, line) in full.take(items_max + 1) {
                reading.take(line, &format!("line {number}"));
            }
        }
    }
    reading.end(items_max)
}

fn known(url: &str) -> Result<Endpoint, Problem> {
    Endpoint::at(url).ok_or_else(|| {
        let paths = Endpoint::ALL.map(Endpoint::path).join(", ");
        let shown: String = url.chars().take(100).collect();
        Problem::new("url", format!("`{shown}` is not for batches, which are for {paths}"))
    })
}

struct Reading<'a> {
    app: &'a App,
    caller: &'a Caller,
    endpoint: Option<Endpoint>,
    seen: HashSet<String>,
    items: Vec<NewItem>,
    told: Vec<String>,
    param: Option<String>,
    problems: usize,
}

impl Reading<'_> {
    fn take(&mut self, line: &str, place: &str) {
        match self.check(line) {
            // What is in vain need not be gathered.
            Ok(item) if self.problems == 0 => self.items.push(item),
            Ok(_) => {}
            Err(Problem { param, message }) => {
                self.problems += 1;
                if self.told.len() < PROBLEMS_MAX {
                    self.told.push(format!("{place}: {message}"));
                    let separator = if param.is_empty() { "" } else { "." };
                    self.param.get_or_insert_with(|| format!("{place}{separator}{param}"));
                }
            }
        }
    }

    fn check(&mut self, line: &str) -> Result<NewItem, Problem> {
        let line: Line<'_> =
            serde_json::from_str(line).map_err(|error| Problem::new("", error.to_string()))?;
        let Line { custom_id, method, url, body } = line;
        if custom_id.is_empty() || custom_id.len() > CUSTOM_ID_BYTES_MAX {
            let message = format!("`custom_id` has 1 to {CUSTOM_ID_BYTES_MAX} bytes");
            return Err(Problem::new("custom_id", message));
        }
        if method != "POST" {
            return Err(Problem::new("method", "`method` must be `POST`"));
        }
        let endpoint = known(&url)?;
        if let Some(only) = self.endpoint.filter(|only| *only != endpoint) {
            let message = format!("`url` is not the batch's endpoint {}", only.path());
            return Err(Problem::new("url", message));
        }
        let body = Bytes::copy_from_slice(body.get().as_bytes());
        self.check_body(endpoint, &body)?;
        if !self.seen.insert(custom_id.clone()) {
            let message = format!("another request has the `custom_id` {custom_id:?}");
            return Err(Problem::new("custom_id", message));
        }
        Ok(NewItem { custom_id, url, body })
    }

    fn check_body(&self, endpoint: Endpoint, body: &Bytes) -> Result<(), Problem> {
        let of = |refusal: &Refusal| {
            let told = refusal.told();
            let param =
                told.param.map_or_else(|| "body".to_owned(), |param| format!("body.{param}"));
            Problem { param, message: told.message.to_owned() }
        };
        let scope = match endpoint {
            Endpoint::Chat(_) => Scope::LlmChat,
            Endpoint::Embeddings => Scope::LlmEmbed,
        };
        self.caller
            .needs_any(scope.alone())
            .map_err(|denied| Problem::new("url", denied.to_string()))?;
        let question = Question::read(endpoint, body.clone()).map_err(|refusal| of(&refusal))?;
        let model = question.model();
        self.caller
            .may_use(model)
            .map_err(|denied| Problem::new("body.model", denied.to_string()))?;
        if self.app.gateway.timeout(model).is_none() {
            let message = format!("there is no model `{model}`");
            return Err(Problem::new("body.model", message));
        }
        if question.is_streamed() {
            let message = "nobody reads along: leave `stream` out";
            return Err(Problem::new("body.stream", message));
        }
        Ok(())
    }

    fn end(self, items_max: usize) -> Result<Vec<NewItem>, Refusal> {
        let Self { items, mut told, param, problems, .. } = self;
        let bad = |message: String| Refusal::bad_request("batch_invalid", message);
        if items.len() > items_max {
            return Err(bad(format!(
                "a batch has at most {items_max} requests: make several batches"
            )));
        }
        if problems > 0 {
            if problems > told.len() {
                told.push(format!("and {} more", problems - told.len()));
            }
            let message = format!("nothing was stored: {}", told.join("; "));
            return Err(bad(message).param(param.unwrap_or_default()));
        }
        if items.is_empty() {
            return Err(bad("there are no requests in it".to_owned()));
        }
        Ok(items)
    }
}
