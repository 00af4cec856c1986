//! What a model may do to a diagnosis: put the suspects in another order and explain it, citing rows that exist.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Diagnosis, ModelNote, Verdict};

const EXPLANATION_MAX: usize = 4_000;

/// What the model is asked to answer with, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ModelAnswer {
    /// Service names, best first.
    pub order: Vec<String>,
    pub explanation: String,
    /// Ids of rows of evidence.
    pub citations: Vec<String>,
}

/// Why the answer of a model is set aside; the diagnosis stands as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("the answer holds no JSON object with `order`, `explanation` and `citations`: {0}")]
    Unreadable(String),
    #[error("nobody is suspected, so there is nothing to put in order")]
    NoSuspects,
    #[error("the answer names no suspect")]
    EmptyOrder,
    #[error("`{0}` is not among the suspects")]
    NotASuspect(String),
    #[error("`{0}` is named twice")]
    Repeated(String),
    #[error("the explanation is empty or longer than {EXPLANATION_MAX} characters")]
    BadExplanation,
    #[error("the explanation cites no evidence")]
    NoCitation,
    #[error("the evidence `{0}` does not exist")]
    NoSuchEvidence(String),
    #[error("no cited evidence is about `{0}`, which the answer puts first")]
    Ungrounded(String),
}

/// Finds the JSON object in what a model wrote, with or without a code fence or words around it.
pub fn parse_answer(text: &str) -> Result<ModelAnswer, Rejected> {
    let start = text.find('{').ok_or_else(|| Rejected::Unreadable("no `{`".to_owned()))?;
    let tail = text.get(start..).unwrap_or_default();
    let mut values = serde_json::Deserializer::from_str(tail).into_iter::<ModelAnswer>();
    match values.next() {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(error)) => Err(Rejected::Unreadable(error.to_string())),
        None => Err(Rejected::Unreadable("it ends too early".to_owned())),
    }
}

/// The diagnosis in the model's order. Suspects that it leaves out follow in the order they had.
pub fn rerank(diagnosis: &Diagnosis, answer: ModelAnswer) -> Result<Diagnosis, Rejected> {
    let ModelAnswer { order, explanation, mut citations } = answer;
    if diagnosis.suspects.is_empty() {
        return Err(Rejected::NoSuspects);
    }
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for service in &order {
        if !diagnosis.suspects.iter().any(|suspect| suspect.service == *service) {
            return Err(Rejected::NotASuspect(service.clone()));
        }
        if !named.insert(service) {
            return Err(Rejected::Repeated(service.clone()));
        }
    }
    let first = order.first().ok_or(Rejected::EmptyOrder)?;
    if explanation.trim().is_empty() || explanation.chars().count() > EXPLANATION_MAX {
        return Err(Rejected::BadExplanation);
    }
    if citations.is_empty() {
        return Err(Rejected::NoCitation);
    }
    let mut about_first = false;
    for id in &citations {
        let row = diagnosis.evidence.iter().find(|row| row.id == *id);
        let row = row.ok_or_else(|| Rejected::NoSuchEvidence(id.clone()))?;
        about_first |= row.service == *first;
    }
    if !about_first {
        return Err(Rejected::Ungrounded(first.clone()));
    }
    citations.sort();
    citations.dedup();

    let mut answered = diagnosis.clone();
    let place =
        |service: &str| order.iter().position(|name| name == service).unwrap_or(order.len());
    answered.suspects.sort_by_key(|suspect| place(&suspect.service));
    if let Some(top) = answered.suspects.first() {
        answered.verdict =
            Verdict::Named { service: top.service.clone(), hypothesis: top.hypothesis };
    }
    answered.note = Some(ModelNote::Accepted { explanation, citations });
    Ok(answered)
}
