//! Everything that workers need to go on with some threads, in one look.

use std::collections::{BTreeMap, HashMap};

use agentry_core::run::Seq;
use agentry_core::thread::Loaded;
use agentry_core::threads::{Error, From};
use tokio_postgres::Row;

use super::row::{self, needed};
use super::{line, sql};
use crate::postgres::PostgresStore;

impl PostgresStore {
    /// By number; a thread that is gone is not among them.
    pub(super) async fn loaded(&self, numbers: &[i64]) -> Result<HashMap<i64, Loaded>, Error> {
        if numbers.is_empty() {
            return Ok(HashMap::new());
        }
        let of: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[&numbers];
        let questions = [
            sql::THREADS,
            sql::SNAPSHOTS,
            sql::ENTRIES,
            sql::JOURNAL,
            sql::INBOX,
            sql::QUESTIONS,
            sql::RUNS,
        ];
        let found = self.pool.read(&questions.map(|sql| (sql, of))).await?;
        let mut parts = found.into_iter();
        let threads = parts.next().unwrap_or_default();
        let mut parts = parts.map(by_thread);
        let mut part = || parts.next().unwrap_or_default();
        let (mut snapshots, mut entries, mut journal) = (part(), part(), part());
        let (mut inbox, mut questions, mut runs) = (part(), part(), part());
        let mut out = HashMap::with_capacity(threads.len());
        for found in &threads {
            let number: i64 = found.get(0);
            let (snapshot, entries) = (take(&mut snapshots, number), take(&mut entries, number));
            let mut digests = needed(entries.iter(), 6);
            digests.extend(needed(snapshot.iter(), 2));
            let pieces = self.pieces(number, digests.into_iter().collect()).await?;
            let line = match line::newest(&entries, snapshot.first(), &pieces)? {
                Some(line) => line,
                // Somebody went on from an entry before the snapshot.
                None => {
                    let tree = self.tree(number).await?;
                    let head = tree.keys().next_back().copied().unwrap_or(Seq(0));
                    self.line_to(number, (&tree, head), From::Snapshot).await?
                }
            };
            let journal: Result<BTreeMap<_, _>, Error> =
                take(&mut journal, number).iter().map(row::effect).collect();
            let loaded = Loaded {
                thread: row::thread(found)?,
                line,
                journal: journal?,
                inbox: all(&take(&mut inbox, number), row::message)?,
                interrupts: all(&take(&mut questions, number), row::interrupt)?,
                runs: all(&take(&mut runs, number), row::run)?,
            };
            out.insert(number, loaded);
        }
        Ok(out)
    }
}

fn by_thread(rows: Vec<Row>) -> HashMap<i64, Vec<Row>> {
    let mut out: HashMap<i64, Vec<Row>> = HashMap::new();
    for row in rows {
        out.entry(row.get(0)).or_default().push(row);
    }
    out
}

fn take(of: &mut HashMap<i64, Vec<Row>>, number: i64) -> Vec<Row> {
    of.remove(&number).unwrap_or_default()
}

pub(super) fn all<T>(
    rows: &[Row],
    read: impl Fn(&Row) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    rows.iter().map(read).collect()
}
