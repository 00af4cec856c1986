//! Leaves of a thread what is needed to go on with it.

use std::collections::{BTreeMap, BTreeSet};

use agentry_core::CheckpointId;
use agentry_core::run::Seq;
use agentry_core::thread::{Checkpoint, Entry, Line, States};
use agentry_core::threads::{Error, From};
use agentry_core::{ThreadId, thread};

use super::command::{signed, text};
use super::id::Id;
use super::line::{Tree, builds_on};
use super::row::needed;
use super::sql;
use crate::large::Text;
use crate::postgres::PostgresStore;
use crate::postgres::pool::{Session, Values};

impl PostgresStore {
    /// Nobody has the thread, and it is locked until this is done: what is read beside the session does not change.
    pub(super) async fn keep_latest(&self, thread: ThreadId) -> Result<u64, Error> {
        let mut session = self.pool.session().await?;
        let locked = session.query(sql::AT_REST, &[&Id::from(thread)]).await?;
        let Some(number) = locked.first().map(|row| row.get::<_, i64>(0)) else { return Ok(0) };
        // Asked once the thread is locked: who submits a run locks it too.
        if !session.query(sql::TO_COME, &[&number]).await?.is_empty() {
            return Ok(0);
        }
        let tree = self.tree(number).await?;
        let seqs: Vec<Seq> = tree.keys().copied().collect();
        let entries = self.entries(number, &seqs).await?;
        let newest = newest(&entries);
        let keep = kept(&tree, &newest);
        for seq in cut(&tree, &keep) {
            let line = self.line_to(number, (&tree, seq), From::Snapshot).await?;
            let body = entries.iter().find(|entry| entry.seq == seq).map(|entry| text(&entry.body));
            let folded = folded(line);
            store(
                &mut session,
                (number, seq),
                &Text::states(&folded)?,
                &body.transpose()?.unwrap_or_default(),
            )
            .await?;
        }
        let marks: BTreeSet<CheckpointId> = newest.values().map(|(_, id)| *id).collect();
        for entry in entries.iter().filter(|entry| keep.contains(&entry.seq)) {
            mark_again(&mut session, number, entry, &marks).await?;
        }
        let keep: Vec<i64> = keep.iter().map(|seq| signed(seq.0)).collect();
        let rows = session.query(sql::DROP_ENTRIES, &[&number, &keep]).await?;
        let removed = rows.first().map_or(0, |row| row.get::<_, i64>(0).unsigned_abs());
        session.query(sql::DROP_SNAPSHOTS, &[&number, &keep]).await?;
        let holes = session.query(sql::HOLES, &[&number]).await?;
        let digests: Vec<Vec<u8>> = needed(holes.iter(), 0).into_iter().collect();
        session.query(sql::DROP_PIECES, &[&number, &digests]).await?;
        session.commit().await?;
        Ok(removed)
    }
}

/// The newest checkpoint of each namespace.
fn newest(entries: &[Entry]) -> BTreeMap<String, (Seq, CheckpointId)> {
    let marked = entries.iter().flat_map(|entry| {
        entry
            .checkpoints
            .iter()
            .map(|checkpoint| (checkpoint.ns.clone(), (entry.seq, checkpoint.id)))
    });
    marked.collect()
}

fn kept(tree: &Tree, newest: &BTreeMap<String, (Seq, CheckpointId)>) -> BTreeSet<Seq> {
    let mut keep: BTreeSet<Seq> = tree.keys().next_back().copied().into_iter().collect();
    for (seq, _) in newest.values() {
        keep.insert(*seq);
        keep.extend(builds_on(tree, *seq));
    }
    keep
}

/// Entries that stay and lose what they build on.
fn cut(tree: &Tree, keep: &BTreeSet<Seq>) -> Vec<Seq> {
    let loses = |(seq, place): &(&Seq, &super::line::Place)| {
        keep.contains(seq) && place.parent != Seq(0) && !keep.contains(&place.parent)
    };
    tree.iter().filter(loses).map(|(seq, _)| *seq).collect()
}

fn folded(line: Line) -> States {
    let Line { snapshot, entries } = line;
    let mut states = snapshot.map(|snapshot| snapshot.states).unwrap_or_default();
    for thread::Write { ns, channel, delta } in entries.into_iter().flat_map(|entry| entry.writes) {
        delta.apply(states.entry(ns).or_default(), channel);
    }
    states
}

/// A snapshot that is there already is only marked as needed.
async fn store(
    session: &mut Session,
    (number, seq): (i64, Seq),
    states: &Text,
    body: &str,
) -> Result<(), Error> {
    for hole in &states.holes {
        let digest: &[u8] = &hole.digest;
        session.query(sql::ADD_PIECE, &[&number, &digest, &hole.value]).await?;
    }
    let values: Values<'_> = &[&number, &signed(seq.0), &states.holes(), &body, &states.text];
    session.query(sql::CUT, values).await.map(drop)
}

async fn mark_again(
    session: &mut Session,
    number: i64,
    entry: &Entry,
    marks: &BTreeSet<CheckpointId>,
) -> Result<(), Error> {
    let stay = |checkpoint: &&Checkpoint| marks.contains(&checkpoint.id);
    let stay: Vec<&Checkpoint> = entry.checkpoints.iter().filter(stay).collect();
    if stay.len() == entry.checkpoints.len() {
        return Ok(());
    }
    let ids: Vec<String> = stay.iter().map(|checkpoint| checkpoint.id.to_string()).collect();
    let some = !ids.is_empty();
    let ids = some.then(|| format!("{{{}}}", ids.join(",")));
    let checkpoints = some.then(|| text(&stay)).transpose()?;
    let values: Values<'_> = &[&number, &signed(entry.seq.0), &ids, &checkpoints];
    session.query(sql::MARK_AGAIN, values).await.map(drop)
}
