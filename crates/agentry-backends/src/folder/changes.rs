//! Deployments, configuration changes and the like.

use std::io;

use agentry_core::telemetry::{Change, Query};
use serde::Deserialize;

use super::newest::Newest;
use super::scalar::{self, Text};
use super::scan::{Broken, Scanner};
use super::{Found, wants};

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    timestamp: Text<'a>,
    #[serde(borrow)]
    service: Text<'a>,
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    summary: Text<'a>,
    #[serde(borrow, default)]
    revision: Text<'a>,
    #[serde(borrow, default)]
    previous: Text<'a>,
}

pub(super) fn read(scanner: &Scanner, query: &Query) -> io::Result<Found<Change>> {
    let mut newest = Newest::new(query.items_max, |change: &Change| change.at);
    let scanned = scanner.each_line(|line| {
        let entry: Entry = serde_json::from_slice(line.bytes).map_err(|_| Broken)?;
        let at = scalar::time(&entry.timestamp).ok_or(Broken)?;
        let service = entry.service.filled().ok_or(Broken)?;
        if query.window.contains(at) && wants(query, &service) {
            newest.push(Change {
                at,
                service,
                kind: entry.kind.filled().ok_or(Broken)?,
                summary: entry.summary.filled().unwrap_or_default(),
                revision: entry.revision.filled(),
                previous: entry.previous.filled(),
                handle: line.handle(),
            });
        }
        Ok(())
    })?;
    Ok(Found { page: newest.page(scanned.truncated), skipped: scanned.skipped })
}
