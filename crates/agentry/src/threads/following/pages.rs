//! Entries that are read ahead. Each way to an entry begins at a snapshot or at the root: for each entry anew it would take as long
//! as all of them together.

use std::collections::BTreeMap;

use agentry_core::ThreadId;
use agentry_core::run::Seq;
use agentry_core::thread::{Entry, Line};
use agentry_core::threads::{At, Error, From, Threads};

/// How many entries are read at once.
const AHEAD: u64 = 256;

#[derive(Default)]
pub(super) struct Pages(BTreeMap<Seq, Entry>);

impl Pages {
    /// An entry and, when it had to be read with it, the way to it.
    pub(super) async fn at(
        &mut self,
        archive: &dyn Threads,
        thread: ThreadId,
        seq: Seq,
    ) -> Result<Option<(Option<Line>, Entry)>, Error> {
        if let Some(entry) = self.0.remove(&seq) {
            return Ok(Some((None, entry)));
        }
        self.0.clear();
        let Some(found) = archive.thread(thread).await? else { return Ok(None) };
        let mut last = Seq(found.seq.0.min(seq.0 + AHEAD - 1));
        while last > seq {
            let line = archive.line(thread, At::Seq(last), From::Snapshot).await?;
            let snapshot = line.as_ref().and_then(|line| line.snapshot.as_ref());
            match snapshot.map(|snapshot| snapshot.seq) {
                // It reaches back only so far: the way to what is before it reaches further.
                Some(cut) if cut >= seq && cut.0 - 1 < last.0 => last = Seq(cut.0 - 1),
                Some(_) | None => match line.and_then(|line| self.split(line, seq)) {
                    Some(found) => return Ok(Some(found)),
                    None => break,
                },
            }
        }
        let mut line = archive.line(thread, At::Seq(seq), From::Snapshot).await?;
        if line.as_ref().is_some_and(|line| line.entries.is_empty()) {
            line = archive.line(thread, At::Seq(seq), From::Root).await?;
        }
        Ok(line.and_then(|line| self.split(line, seq)))
    }

    /// Keeps what comes after the entry.
    fn split(&mut self, line: Line, seq: Seq) -> Option<(Option<Line>, Entry)> {
        let Line { snapshot, mut entries } = line;
        let place = entries.iter().position(|entry| entry.seq == seq)?;
        let after = entries.split_off(place + 1);
        let entry = entries.pop()?;
        self.0.extend(after.into_iter().map(|entry| (entry.seq, entry)));
        Some((Some(Line { snapshot, entries }), entry))
    }
}

/// The way to what an entry builds on.
pub(super) async fn line_before(
    archive: &dyn Threads,
    thread: ThreadId,
    entry: &Entry,
) -> Result<Line, Error> {
    let line = archive.line(thread, At::Seq(entry.parent), From::Snapshot).await?;
    Ok(line.unwrap_or_default())
}
