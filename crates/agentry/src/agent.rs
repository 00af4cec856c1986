//! Talks to the agent over its public face, as any customer would.

use std::time::Duration;

use agentry_core::audit::{Digest, Record, Verifier};
use agentry_http::{Client, Deadlines, Settings};
use anyhow::{Context as _, bail};
use http::{Method, Request};
use serde::Deserialize;
use serde_json::{Value, json};

const ANSWER_BYTES_MAX: usize = 16 << 20;
const DEADLINE: Duration = Duration::from_secs(5);

pub(crate) struct Agent {
    client: Client,
    base: String,
}

impl Agent {
    pub(crate) fn at(base: impl Into<String>) -> Self {
        Self { client: Client::new(&Settings::default()), base: base.into() }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .body(body.into())
            .context("make a request")?;
        let response = self
            .client
            .fetch(request, &Deadlines::within(DEADLINE), ANSWER_BYTES_MAX)
            .await
            .with_context(|| format!("reach {}{path}", self.base))?;
        let status = response.status();
        let answer: Value = serde_json::from_slice(response.body())
            .with_context(|| format!("{path} answered {status} with something that is not JSON"))?;
        if !status.is_success() {
            let message = answer
                .pointer("/error/message")
                .and_then(Value::as_str)
                .unwrap_or("no reason given");
            bail!("{message} ({status})");
        }
        Ok(answer)
    }

    /// Newest first.
    pub(crate) async fn incidents(&self) -> anyhow::Result<Vec<Value>> {
        self.list("/v1/incidents").await
    }

    pub(crate) async fn incident(&self, id: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, &format!("/v1/incidents/{id}"), None).await
    }

    /// Open questions, oldest first.
    pub(crate) async fn approvals(&self) -> anyhow::Result<Vec<Value>> {
        self.list("/v1/approvals").await
    }

    pub(crate) async fn approval(&self, id: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, &format!("/v1/approvals/{id}"), None).await
    }

    pub(crate) async fn decide(&self, id: &str, decision: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, &format!("/v1/approvals/{id}"), Some(decision)).await
    }

    async fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let answer = self.call(Method::GET, path, None).await?;
        Ok(answer.get("data").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// Reads the whole audit log and checks its chain; `head` is a digest that must still be in it.
    pub(crate) async fn audit(&self, head: Option<Digest>) -> anyhow::Result<Audited> {
        let mut verifier = Verifier::default();
        let mut broken = None;
        let mut seen = head.is_none();
        self.each_audit_record(|record| {
            if broken.is_none() {
                broken = verifier.check(record).err().map(|broken| broken.to_string());
            }
            seen |= head == Some(record.digest);
        })
        .await?;
        let (records, last) = verifier.head();
        if broken.is_none() && !seen {
            broken = Some(
                "the head that was noted down is not in it: its end was cut off or rewritten"
                    .into(),
            );
        }
        Ok(Audited { records, head: last, broken })
    }

    pub(crate) async fn each_audit_record(
        &self,
        mut each: impl FnMut(&Record),
    ) -> anyhow::Result<()> {
        let mut after = 0;
        loop {
            let page = self.list(&format!("/v1/audit?after={after}")).await?;
            if page.is_empty() {
                return Ok(());
            }
            for record in page {
                let record = Record::deserialize(record).context("read an audit record")?;
                after = after.max(record.number);
                each(&record);
            }
        }
    }
}

/// What a walk along the audit log has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Audited {
    pub(crate) records: u64,
    pub(crate) head: Digest,
    pub(crate) broken: Option<String>,
}

impl Audited {
    pub(crate) fn json(&self) -> Value {
        json!({
            "verified": self.broken.is_none(),
            "records": self.records,
            "head": self.head,
            "broken": self.broken,
        })
    }
}
