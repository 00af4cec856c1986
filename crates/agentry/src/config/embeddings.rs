//! `[embeddings]`: calls for vectors that go upstream together.

use std::time::Duration;

use agentry_gateway::batch::Settings;

use super::reader::Reader;
use super::value::{self, Unreadable};

/// Whoever waits longer than this for others has gained nothing.
const LINGER_MAX: Duration = Duration::from_millis(100);

pub(super) fn read(table: Option<Reader<'_>>) -> Settings {
    let defaults = Settings::default();
    let Some(mut table) = table else { return defaults };
    let together = table.or("together", true, value::flag);
    let linger = table.or("linger", defaults.linger, |value| match value::duration(value)? {
        long if long > LINGER_MAX => Err(Unreadable::new("must be at most 100ms")),
        linger => Ok(linger),
    });
    let inputs_max = table.read("inputs_max", value::at_least_one).map(|at| at.value as usize);
    table.finish();
    Settings {
        linger: if together { linger } else { Duration::ZERO },
        inputs_max: inputs_max.unwrap_or(defaults.inputs_max),
    }
}
