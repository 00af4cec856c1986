//! The stretches of time for which budgets are set, in UTC.

use std::fmt;
use std::str::FromStr;

use crate::Timestamp;

/// How often a budget begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Per {
    Day,
    Month,
    /// Never.
    Total,
}

impl Per {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// The period that `at` is in.
    #[must_use]
    pub fn period(self, at: Timestamp) -> Period {
        let date = date(at);
        match self {
            Self::Day => {
                Period { per: self, year: date.year(), month: date.month(), day: date.day() }
            }
            Self::Month => Period { per: self, year: date.year(), month: date.month(), day: 1 },
            Self::Total => Period::TOTAL,
        }
    }
}

/// The text is no period of a budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a period of a budget: use day, month or total")]
pub struct NotAPeriod(String);

impl FromStr for Per {
    type Err = NotAPeriod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "day" => Ok(Self::Day),
            "month" => Ok(Self::Month),
            "total" => Ok(Self::Total),
            other => Err(NotAPeriod(other.chars().take(40).collect())),
        }
    }
}

/// One day, one month, or all of time. Written as `2026-01-31`, `2026-01` or `total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    per: Per,
    year: i16,
    month: i8,
    day: i8,
}

impl Period {
    pub const TOTAL: Self = Self { per: Per::Total, year: 0, month: 1, day: 1 };

    #[must_use]
    pub fn per(self) -> Per {
        self.per
    }

    /// When the next one begins; nothing if there is no next one.
    #[must_use]
    pub fn end(self) -> Option<Timestamp> {
        let first = jiff::civil::Date::new(self.year, self.month, self.day).ok()?;
        let next = match self.per {
            Per::Day => first.tomorrow(),
            Per::Month => first.last_of_month().tomorrow(),
            Per::Total => return None,
        };
        let midnight = next.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(Timestamp::from_micros(midnight.timestamp().as_microsecond()))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per, year, month, day } = self;
        match per {
            Per::Day => write!(f, "{year:04}-{month:02}-{day:02}"),
            Per::Month => write!(f, "{year:04}-{month:02}"),
            Per::Total => f.write_str("total"),
        }
    }
}

pub(super) fn date(at: Timestamp) -> jiff::civil::Date {
    let instant = jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or_default();
    instant.to_zoned(jiff::tz::TimeZone::UTC).date()
}
