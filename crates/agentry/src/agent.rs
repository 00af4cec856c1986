//! Talks to the agent over its public face, as any customer would.

use std::time::Duration;

use agentry_http::{Client, Deadlines, Settings};
use anyhow::{Context as _, bail};
use http::{Method, Request, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

const ANSWER_BYTES_MAX: usize = 16 << 20;
const DEADLINE: Duration = Duration::from_secs(5);
const ANSWER_DEADLINE: Duration = Duration::from_secs(300);

pub(crate) struct Agent {
    client: Client,
    base: String,
    key: Option<SecretString>,
}

impl Agent {
    pub(crate) fn at(base: impl Into<String>) -> Self {
        Self { client: Client::new(&Settings::default()), base: base.into(), key: None }
    }

    /// Calls as whoever has `key`.
    pub(crate) fn with_key(self, key: Option<SecretString>) -> Self {
        Self { key, ..self }
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// What takes as long as a model does.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.within(ANSWER_DEADLINE, Method::POST, (path, Some(body))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, path, None).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        self.within(DEADLINE, method, (path, body)).await
    }

    async fn within(
        &self,
        deadline: Duration,
        method: Method,
        (path, body): (&str, Option<&Value>),
    ) -> anyhow::Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", key.expose_secret()));
        }
        let request = request.body(body).context("make a request")?;
        let response = self
            .client
            .fetch(request, &Deadlines::within(deadline), ANSWER_BYTES_MAX)
            .await
            .with_context(|| format!("reach {}{path}", self.base))?;
        let status = response.status();
        if status.is_success() && response.body().is_empty() {
            return Ok(Value::Null);
        }
        let answer: Value = serde_json::from_slice(response.body())
            .with_context(|| format!("{path} answered {status} with something that is not JSON"))?;
        if !status.is_success() {
            let message = answer
                .pointer("/error/message")
                .or_else(|| answer.get("detail"))
                .and_then(Value::as_str)
                .unwrap_or("no reason given");
            let hint = match status {
                StatusCode::UNAUTHORIZED => "; this command takes its key from AGENTRY_API_KEY",
                _ => "",
            };
            bail!("{message} ({status}){hint}");
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

    pub(crate) async fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let answer = self.call(Method::GET, path, None).await?;
        Ok(answer.get("data").and_then(Value::as_array).cloned().unwrap_or_default())
    }
}
