//! `[tools.NAME]`: services that agents and graphs may call as tools.

use agentry_graphs::tool::{self, Declared};

use super::reader::Reader;

/// `text` is the file that they stand in.
pub(super) fn read(table: Option<Reader<'_>>, text: &str) -> Vec<Declared> {
    let tables = table.map(Reader::tables).unwrap_or_default();
    tables.into_iter().filter_map(|table| tool::read(table, text)).collect()
}
