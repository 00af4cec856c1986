//! Moving threads to the version of their graph that is here and cutting histories, for whoever asks over HTTP.

use std::collections::BTreeMap;

use agentry_core::threads::Intake;
use agentry_core::{ThreadId, audit};
use agentry_engine::durable::{Place, Retention};
use agentry_engine::version::Verdict;
use agentry_server::Refusal;
use agentry_server::engine::{Cut, Cutting, Migrate, Migrated, Upkeep};
use serde_json::{Value, json};

use super::Durable;
use super::engine::unfit;
use crate::versions;

impl Durable {
    pub(super) async fn move_threads(&self, wish: Migrate) -> Result<Migrated, Refusal> {
        let Migrate { upkeep, graph, thread, max } = wish;
        let program = self.handle.registry().current(&graph);
        let version = program.map_err(|problem| unfit("graph", &problem.to_string()))?;
        let detail = json!({ "thread": thread, "offset": upkeep.offset, "limit": max });
        self.about_to(&upkeep, ("threads.migrated", &graph), detail).await?;
        let (page, next) = match thread {
            Some(thread) => {
                let found = self.handle.outlook(thread).await?;
                let found = found.filter(|found| found.from.graph == graph);
                (vec![found.ok_or_else(|| no_thread(thread, &graph))?], None)
            }
            None => {
                let page = self.handle.outlooks(&graph, upkeep.offset, max).await?;
                // Moving one does not change its place among them.
                let next = (page.len() == max).then(|| upkeep.offset + max);
                (page, next)
            }
        };
        let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
        let mut threads = Vec::new();
        for outlook in page {
            let outlook = versions::done(&self.handle, outlook, upkeep.dry_run).await;
            let outlook = outlook.map_err(Refusal::from)?;
            *counts.entry(versions::word(&outlook.verdict)).or_default() += 1;
            if outlook.verdict != Verdict::Current {
                threads.push(json!(outlook));
            }
        }
        Ok(Migrated { version: version.version().to_owned(), counts, threads, next })
    }

    pub(super) async fn cut_histories(&self, wish: Cut) -> Result<Cutting, Refusal> {
        let Cut { upkeep, thread, unused } = wish;
        let subject = thread.map_or_else(|| "*".to_owned(), |thread| thread.to_string());
        let detail = json!({ "unused_seconds": unused.as_secs(), "offset": upkeep.offset });
        self.about_to(&upkeep, ("threads.compacted", &subject), detail).await?;
        let (handle, dry_run) = (&self.handle, upkeep.dry_run);
        if let Some(id) = thread {
            let found = handle.archive().thread(id).await?;
            let found = found.ok_or_else(|| no_thread(id, "any graph"))?;
            return Ok(match dry_run {
                true => {
                    let would = handle.would_compact(&found).await?;
                    Cutting { threads: u64::from(would), ..Cutting::default() }
                }
                false => {
                    let entries = handle.compact(id).await?;
                    let threads = u64::from(entries > 0);
                    Cutting { threads, entries: Some(entries), next: None }
                }
            });
        }
        let mut place = Place::after(upkeep.offset);
        let part = match dry_run {
            true => handle.would_cut(unused, &mut place).await?,
            false => {
                let retention = Retention { threads: None, history: Some(unused) };
                handle.tidy_now(retention, &mut place).await?
            }
        };
        let next = part.more.then(|| place.looked_at());
        Ok(Cutting { threads: part.cut, entries: (!dry_run).then_some(part.entries), next })
    }

    /// Whatever comes of it, that it was wished for is known.
    async fn about_to(
        &self,
        upkeep: &Upkeep,
        (action, subject): (&str, &str),
        detail: Value,
    ) -> Result<(), Refusal> {
        let Upkeep { actor, dry_run, offset: _ } = upkeep;
        if *dry_run {
            return Ok(());
        }
        let entry = audit::Entry {
            at: self.handle.clock().now(),
            actor: actor.clone(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            detail,
        };
        let intake = Intake { audit: vec![entry], ..Intake::default() };
        Ok(self.handle.store().intake(intake).await?)
    }
}

fn no_thread(thread: ThreadId, graph: &str) -> Refusal {
    let message = format!("there is no thread {thread} of {graph}");
    Refusal::not_found("thread_not_found", message)
}
