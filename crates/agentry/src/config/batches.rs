//! `[batches]`: calls that are answered when there is time for them.

use agentry_server::BatchSettings;

use super::reader::Reader;
use super::value::{self, Unreadable};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batches {
    /// Calls at the same time, in this instance.
    pub(crate) concurrency: usize,
    pub(crate) settings: BatchSettings,
}

impl Default for Batches {
    fn default() -> Self {
        Self { concurrency: 8, settings: BatchSettings::default() }
    }
}

/// More would be more than a batch needs to hurry.
const CONCURRENCY_MAX: u32 = 1_000;

pub(super) fn read(table: Option<Reader<'_>>) -> Batches {
    let defaults = Batches::default();
    let Some(mut table) = table else { return defaults };
    let BatchSettings { retention, input_bytes_max, items_max } = defaults.settings;
    let concurrency = table.read("concurrency", |value| match value::at_least_one(value)? {
        count if count > CONCURRENCY_MAX => {
            Err(Unreadable::new(format!("must be at most {CONCURRENCY_MAX}")))
        }
        count => Ok(count as usize),
    });
    let requests_max =
        table.read("requests_max", value::at_least_one).map(|count| count.value as usize);
    let batches = Batches {
        concurrency: concurrency.map_or(defaults.concurrency, |count| count.value),
        settings: BatchSettings {
            retention: table.or("retention", retention, value::duration),
            input_bytes_max: table.or("file_bytes_max", input_bytes_max, value::size),
            items_max: requests_max.unwrap_or(items_max),
        },
    };
    table.finish();
    batches
}
