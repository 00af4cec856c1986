//! A run's summary, from where its thread is kept.

use agentry_core::RunId;
use agentry_core::run::{Event, Seq};
use agentry_core::thread::{Entry, EventId, Line, Run, Told};
use agentry_core::threads::{At, From, Threads};

use super::{Summary, Summing};
use crate::Error;
use crate::durable::Handle;

/// Events that are read at once.
const PAGE: usize = 1_000;
/// Of longer runs the beginning is summed up, and the summary says so.
const EVENTS_MAX: usize = 100_000;

impl Handle {
    /// What a run was like, or is like by now. `None` when there is no such run.
    pub async fn summary(&self, run: RunId) -> Result<Option<Summary>, Error> {
        let archive = self.archive().as_ref();
        let Some(run) = archive.run(run).await? else { return Ok(None) };
        let mut summing = Summing::default();
        let (told, is_whole) = events(archive, &run).await?;
        let entries = match told.last() {
            Some(last) => entries(archive, &run, last.id.seq).await?,
            None => Vec::new(),
        };
        let mut told = told.into_iter().peekable();
        for entry in &entries {
            while let Some(earlier) = told.next_if(|told| told.id.seq < entry.seq) {
                summing.hear(&earlier.event);
            }
            summing.read(entry);
        }
        told.for_each(|told| summing.hear(&told.event));
        let mut summary = summing.finish(self.clock().now());
        // Who was taken back, or never began, has no event of its own that says so.
        summary.progress = run.status.into();
        summary.is_whole = is_whole;
        Ok(Some(summary))
    }
}

/// All of the run's own, and the one that says that somebody else has ended it.
async fn events(archive: &dyn Threads, run: &Run) -> Result<(Vec<Told>, bool), Error> {
    let base = run.base.unwrap_or_default();
    let mut after = EventId { seq: base, index: u32::MAX };
    let mut all: Vec<Told> = Vec::new();
    loop {
        let page = archive.events(run.thread, Some(run.id), after, PAGE).await?;
        let full = page.len() == PAGE;
        after = page.last().map_or(after, |last| last.id);
        all.extend(page.into_iter().filter(|told| is_about(&told.event, run.id)));
        if !full {
            return Ok((all, true));
        }
        if all.len() >= EVENTS_MAX {
            return Ok((all, false));
        }
    }
}

/// An entry of one run may say of another that it has ended.
fn is_about(event: &Event, run: RunId) -> bool {
    let named = event.detail.get("run").and_then(|it| it.as_str()?.parse::<RunId>().ok());
    named.is_none_or(|named| named == run)
}

/// The run's, oldest first, as far as they are kept.
async fn entries(archive: &dyn Threads, run: &Run, last: Seq) -> Result<Vec<Entry>, Error> {
    let base = run.base.unwrap_or_default();
    let at = At::Seq(last);
    let reaches = |line: &Line| line.snapshot.as_ref().is_none_or(|it| it.seq <= base);
    let mut line = archive.line(run.thread, at, From::Snapshot).await?.unwrap_or_default();
    if !reaches(&line) {
        line = archive.line(run.thread, at, From::Root).await?.unwrap_or_default();
    }
    Ok(line.entries.into_iter().filter(|entry| entry.run == Some(run.id)).collect())
}
