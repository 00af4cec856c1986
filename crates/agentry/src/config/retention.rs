//! `[retention]`: how long threads and their histories are kept.

use agentry_engine::durable::Retention;

use super::reader::Reader;
use super::value;

/// Nothing is removed unless somebody says so.
pub(super) fn read(table: Option<Reader<'_>>) -> Retention {
    let Some(mut table) = table else { return Retention::default() };
    let mut span = |key| table.read(key, value::duration).map(|span| span.value);
    let retention = Retention { threads: span("threads"), history: span("history") };
    table.finish();
    retention
}
