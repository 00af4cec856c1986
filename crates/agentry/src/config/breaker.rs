//! `[breaker]` and `[health]`: when a target is left alone.

use agentry_balance::{BreakerSettings, HealthSettings, OutlierSettings, Settings};

use super::reader::Reader;
use super::value::{self, Unreadable};

pub(super) fn read(breaker: Option<Reader<'_>>, health: Option<Reader<'_>>) -> Settings {
    let defaults = Settings::default();
    let breaker = breaker.map_or(defaults.health.breaker, self::breaker);
    let health = health.map_or(defaults.health, self::health);
    Settings { health: HealthSettings { breaker, ..health }, ..defaults }
}

fn breaker(mut table: Reader<'_>) -> BreakerSettings {
    let BreakerSettings { failures, open_for } = BreakerSettings::default();
    let settings = BreakerSettings {
        failures: table.or("failures", failures, value::at_least_one),
        open_for: table.or("open_for", open_for, value::duration),
    };
    table.finish();
    settings
}

fn health(mut table: Reader<'_>) -> HealthSettings {
    let defaults = HealthSettings::default();
    let slow = table.or("slow", defaults.slow, value::duration);
    let outlier = table.table("outlier").map_or(defaults.outlier, outlier);
    table.finish();
    HealthSettings { slow, outlier, ..defaults }
}

fn outlier(mut table: Reader<'_>) -> OutlierSettings {
    let OutlierSettings { failures, calls_min, failed_percent, eject_for, eject_for_max } =
        OutlierSettings::default();
    let settings = OutlierSettings {
        failures: table.or("failures", failures, value::at_least_one),
        calls_min: table.or("calls_min", calls_min, value::at_least_one),
        failed_percent: table.or("failed_percent", failed_percent, percent),
        eject_for: table.or("eject_for", eject_for, value::duration),
        eject_for_max: table.or("eject_for_max", eject_for_max, value::duration),
    };
    if settings.eject_for > settings.eject_for_max {
        table.report("`health.outlier.eject_for` is longer than `eject_for_max`");
    }
    table.finish();
    settings
}

fn percent(value: &super::tree::Value) -> Result<u32, Unreadable> {
    match value::count(value)? {
        percent @ 1..=100 => Ok(percent),
        _ => Err(Unreadable::new("must be between 1 and 100")),
    }
}
