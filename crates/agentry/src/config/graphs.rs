//! `[graphs]`: what graphs may reach.

use super::reader::Reader;
use super::value;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Graphs {
    /// Whom `http` nodes may call beside addresses of the public internet.
    pub(crate) hosts: Vec<String>,
}

pub(super) fn read(table: Option<Reader<'_>>) -> Graphs {
    let Some(mut table) = table else { return Graphs::default() };
    let hosts = table.list("hosts", value::text).map(|hosts| hosts.value).unwrap_or_default();
    table.finish();
    Graphs { hosts: hosts.into_iter().map(|host| host.value).collect() }
}
