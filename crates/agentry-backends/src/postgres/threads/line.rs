//! What lies between a thread's root and one of its entries.

use std::collections::BTreeMap;

use agentry_core::run::Seq;
use agentry_core::thread::{Entry, Line};
use agentry_core::threads::{Error, From};
use tokio_postgres::Row;

use super::command::signed;
use super::row::{self, Pieces, needed};
use super::sql;
use crate::postgres::PostgresStore;

/// One entry's place in the tree.
pub(super) struct Place {
    pub parent: Seq,
    pub checkpoints: bool,
    pub snapshot: bool,
}

pub(super) type Tree = BTreeMap<Seq, Place>;

pub(super) fn tree(rows: &[Row]) -> Tree {
    let place = |it: &Row| {
        let place = Place { parent: row::seq(it, 1), checkpoints: it.get(2), snapshot: it.get(3) };
        (row::seq(it, 0), place)
    };
    rows.iter().map(place).collect()
}

/// The entries of a line, newest first, and the snapshot that it begins with.
pub(super) fn trace(tree: &Tree, at: Seq, from: From) -> (Vec<Seq>, Option<Seq>) {
    let (mut entries, mut here) = (Vec::new(), at);
    while let Some(place) = tree.get(&here) {
        let cut = place.parent != Seq(0) && !tree.contains_key(&place.parent);
        if place.snapshot && (cut || from == From::Snapshot) {
            return (entries, Some(here));
        }
        entries.push(here);
        here = place.parent;
    }
    (entries, None)
}

/// Entries without a checkpoint that build on `at`, oldest first.
pub(super) fn builds_on(tree: &Tree, at: Seq) -> Vec<Seq> {
    let mut found = Vec::new();
    for (seq, place) in tree {
        if !place.checkpoints && (place.parent == at || found.contains(&place.parent)) {
            found.push(*seq);
        }
    }
    found
}

/// The line to the newest of `entries`, all of one thread and in order, when they and the snapshot are enough for it.
pub(super) fn newest(
    entries: &[Row],
    snapshot: Option<&Row>,
    pieces: &Pieces,
) -> Result<Option<Line>, Error> {
    let base = snapshot.map(|it| row::seq(it, 1));
    let mut line = Line::default();
    let mut wanted = None;
    for entry in entries.iter().rev() {
        let (seq, parent) = (row::seq(entry, 1), row::seq(entry, 2));
        if wanted.is_some_and(|wanted| wanted != seq) {
            continue;
        }
        if base == Some(seq) {
            line.snapshot = snapshot.map(|it| row::snapshot(it, pieces)).transpose()?;
            line.entries.reverse();
            return Ok(Some(line));
        }
        line.entries.push(row::entry(entry, pieces)?);
        if parent == Seq(0) {
            wanted = None;
            break;
        }
        wanted = Some(parent);
    }
    line.entries.reverse();
    Ok(wanted.is_none().then_some(line))
}

impl PostgresStore {
    pub(super) async fn pieces(&self, thread: i64, digests: Vec<Vec<u8>>) -> Result<Pieces, Error> {
        if digests.is_empty() {
            return Ok(Pieces::default());
        }
        let rows = self.pool.query(sql::PIECES, &[&thread, &digests]).await?;
        Ok(Pieces(rows.iter().map(|row| (row.get(1), row.get(2))).collect()))
    }

    pub(super) async fn tree(&self, thread: i64) -> Result<Tree, Error> {
        Ok(tree(&self.pool.query(sql::TREE, &[&thread]).await?))
    }

    pub(super) async fn line_to(
        &self,
        thread: i64,
        (tree, at): (&Tree, Seq),
        from: From,
    ) -> Result<Line, Error> {
        let (seqs, snapshot) = trace(tree, at, from);
        let snapshots: Vec<i64> = snapshot.map(|seq| signed(seq.0)).into_iter().collect();
        let rows = self.pool.query(sql::SNAPSHOTS_OF, &[&thread, &snapshots]).await?;
        let pieces = self.pieces(thread, needed(rows.iter(), 2).into_iter().collect()).await?;
        let snapshot = rows.first().map(|it| row::snapshot(it, &pieces)).transpose()?;
        let entries = self.entries(thread, &seqs.into_iter().rev().collect::<Vec<_>>()).await?;
        Ok(Line { snapshot, entries })
    }

    /// Those of these numbers, which go upwards.
    pub(super) async fn entries(&self, thread: i64, seqs: &[Seq]) -> Result<Vec<Entry>, Error> {
        let (Some(first), Some(last)) = (seqs.first(), seqs.last()) else { return Ok(Vec::new()) };
        let (first, last) = (signed(first.0), signed(last.0));
        let rows = self.pool.query(sql::STRETCH, &[&thread, &first, &last]).await?;
        let wanted = || rows.iter().filter(|it| seqs.binary_search(&row::seq(it, 1)).is_ok());
        let pieces = self.pieces(thread, needed(wanted(), 6).into_iter().collect()).await?;
        wanted().map(|it| row::entry(it, &pieces)).collect()
    }
}
