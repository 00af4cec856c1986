//! Brings the incident agent's desk to the server's face.

use agentry_core::Clock as _;
use agentry_incident::alert::{self, Batch};
use agentry_incident::correlate::IncidentNumber;
use agentry_incident::desk::Desk;
use agentry_server::{IncidentDesk, Refusal};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::clock::SystemClock;

pub(super) struct Face(pub(super) Desk);

impl Face {
    async fn accept(&self, batch: Result<Batch, alert::Error>) -> Result<Value, Refusal> {
        let batch = batch.map_err(|error| {
            let refusal = Refusal::of(&error);
            match error.param() {
                Some(param) => refusal.param(param),
                None => refusal,
            }
        })?;
        let accepted = self.0.accept(batch).await?;
        Ok(json!(accepted))
    }
}

#[async_trait]
impl IncidentDesk for Face {
    async fn alertmanager(&self, body: Value) -> Result<Value, Refusal> {
        self.accept(alert::alertmanager(body, SystemClock.now())).await
    }

    async fn alerts(&self, body: Value) -> Result<Value, Refusal> {
        self.accept(alert::generic(body, SystemClock.now())).await
    }

    async fn list(&self, max: usize) -> Result<Vec<Value>, Refusal> {
        let incidents = self.0.incidents(max).await?;
        Ok(incidents.iter().map(|incident| json!(incident)).collect())
    }

    async fn show(&self, id: &str) -> Result<Option<Value>, Refusal> {
        let number: IncidentNumber = id.parse().map_err(|_| {
            Refusal::bad_request("incident_id_invalid", "an incident is named like INC-7")
                .param("id")
        })?;
        Ok(self.0.incident(number).await?.map(|report| json!(report)))
    }
}
