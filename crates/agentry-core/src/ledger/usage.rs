//! What calls took, one record each, and the sums that people ask for.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::period::date;
use super::{Holder, SliceId};
use crate::{MicroUsd, Timestamp};

/// Names one record for ever. Later ones sort later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UsageId(Uuid);

impl UsageId {
    /// Time and randomness come from the caller.
    #[must_use]
    pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for UsageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    /// A target was asked.
    Miss,
    Hit,
    /// It was another caller's answer, while it was written.
    Join,
}

impl Cache {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Miss => "miss",
            Self::Hit => "hit",
            Self::Join => "join",
        }
    }
}

/// What was read and written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// All of the prompt, whether it was cached or not.
    pub input: u64,
    /// The part of `input` that the upstream had cached.
    pub cached: u64,
    /// All that was written, reasoning included.
    pub output: u64,
    /// The part of `output` that nobody sees.
    pub reasoning: u64,
}

/// One call, when it was over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    pub id: UsageId,
    pub at: Timestamp,
    pub call_id: String,
    pub tenant: String,
    /// The name of the key, never its secret.
    pub key: String,
    pub user: Option<String>,
    pub team: Option<String>,
    pub session: Option<String>,
    pub run: Option<String>,
    /// As the caller named it.
    pub model: String,
    /// The `provider/model` that answered, or was asked last.
    pub target: Option<String>,
    /// `success`, `cancelled`, or the code of an error.
    pub status: String,
    pub tokens: Tokens,
    pub cost: MicroUsd,
    /// The part of `cost` that no upstream has told: what was held for a call whose bill nobody knows, and the input of
    /// attempts whose answer was not waited for.
    #[serde(default)]
    pub estimated: MicroUsd,
    pub latency: Duration,
    pub first_token: Option<Duration>,
    pub cache: Cache,
    /// How often a target was asked.
    pub attempts: u32,
}

/// What a record takes from a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub slice: Arc<SliceId>,
    pub amount: MicroUsd,
}

/// A record with all that it charges: one charge for each budget that the call counted against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub record: Arc<UsageRecord>,
    pub charges: Vec<Charge>,
}

/// Whose usage, and when. What is `None` is not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportQuery {
    pub tenant: Option<String>,
    pub key: Option<String>,
    pub user: Option<String>,
    pub team: Option<String>,
    pub session: Option<String>,
    pub run: Option<String>,
    pub model: Option<String>,
    /// Inclusive.
    pub from: Timestamp,
    /// Exclusive.
    pub to: Timestamp,
    pub rows_max: usize,
}

impl ReportQuery {
    /// Everybody's.
    #[must_use]
    pub fn between(from: Timestamp, to: Timestamp) -> Self {
        Self {
            tenant: None,
            key: None,
            user: None,
            team: None,
            session: None,
            run: None,
            model: None,
            from,
            to,
            rows_max: 1_000,
        }
    }

    /// What was counted without saying more than tenant, key and model is not found by anything else.
    #[must_use]
    pub fn covers_reused(&self, reused: &Reused) -> bool {
        let Self { tenant, key, user, team, session, run, model, from, to, rows_max: _ } = self;
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| found == wanted)
        };
        (*from..*to).contains(&reused.at())
            && [user, team, session, run].into_iter().all(Option::is_none)
            && is(tenant, &reused.tenant)
            && is(key, &reused.key)
            && is(model, &reused.model)
    }

    #[must_use]
    pub fn covers(&self, record: &UsageRecord) -> bool {
        let Self { tenant, key, user, team, session, run, model, from, to, rows_max: _ } = self;
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        (*from..*to).contains(&record.at)
            && is(tenant, Some(&record.tenant))
            && is(key, Some(&record.key))
            && is(user, record.user.as_deref())
            && is(team, record.team.as_deref())
            && is(session, record.session.as_deref())
            && is(run, record.run.as_deref())
            && is(model, Some(&record.model))
    }
}

/// Calls that asked no target, of one key and model on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reused {
    /// As [`ReportRow::day_number`] has it.
    pub day: i64,
    pub tenant: String,
    pub key: String,
    pub model: String,
    pub calls: u64,
    /// What the answers did cost when they were made, as far as that is known.
    pub saved: MicroUsd,
}

/// What one life of an instance has counted since it last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    pub holder: Holder,
    /// Grows with each of this holder. Told again because nobody knows whether it was heard, it counts once.
    pub number: i64,
    pub reused: Vec<Reused>,
}

impl Reused {
    /// It counts at the beginning of its day.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        Timestamp::from_micros(self.day.saturating_mul(DAY_MICROS))
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    pub calls: u64,
    /// Those whose status is not `success`.
    pub failed: u64,
    /// Those that asked no target.
    pub from_cache: u64,
    pub tokens: Tokens,
    pub cost: MicroUsd,
    /// The part of `cost` that no upstream has told.
    #[serde(default)]
    pub estimated: MicroUsd,
    /// What answers that were there already did cost when they were made.
    #[serde(default)]
    pub saved: MicroUsd,
}

impl Sums {
    pub fn add_reused(&mut self, reused: &Reused) {
        self.calls += reused.calls;
        self.from_cache += reused.calls;
        self.saved = self.saved + reused.saved;
    }

    pub fn add(&mut self, record: &UsageRecord) {
        self.calls += 1;
        self.failed += u64::from(record.status != SUCCESS);
        self.from_cache += u64::from(record.cache != Cache::Miss);
        self.tokens.input += record.tokens.input;
        self.tokens.cached += record.tokens.cached;
        self.tokens.output += record.tokens.output;
        self.tokens.reasoning += record.tokens.reasoning;
        self.cost = self.cost + record.cost;
        self.estimated = self.estimated + record.estimated;
    }
}

const SUCCESS: &str = "success";
const DAY_MICROS: i64 = 86_400_000_000;

/// One day of one key with one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportRow {
    /// In UTC: `2026-01-31`.
    pub day: String,
    pub tenant: String,
    pub key: String,
    pub model: String,
    #[serde(flatten)]
    pub sums: Sums,
}

impl ReportRow {
    /// The number of the day since the Unix epoch, by which backends group.
    #[must_use]
    pub fn day_number(at: Timestamp) -> i64 {
        at.as_micros().div_euclid(DAY_MICROS)
    }

    #[must_use]
    pub fn day_name(number: i64) -> String {
        date(Timestamp::from_micros(number.saturating_mul(DAY_MICROS))).to_string()
    }
}

/// Ordered by day, tenant, key and model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub rows: Vec<ReportRow>,
    /// Of everything that was asked for, also when there are more rows than were wanted.
    pub totals: Sums,
}

/// What usage is grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    Model,
    /// The `provider/model` that answered.
    Target,
    Key,
    Day,
    Tenant,
    Team,
    User,
    Session,
    Run,
}

impl By {
    pub const ALL: [Self; 9] = [
        Self::Model,
        Self::Target,
        Self::Key,
        Self::Day,
        Self::Tenant,
        Self::Team,
        Self::User,
        Self::Session,
        Self::Run,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Target => "target",
            Self::Key => "key",
            Self::Day => "day",
            Self::Tenant => "tenant",
            Self::Team => "team",
            Self::User => "user",
            Self::Session => "session",
            Self::Run => "run",
        }
    }

    /// To which group it belongs; of many things nothing is known.
    #[must_use]
    pub fn of_reused(self, reused: &Reused) -> Option<String> {
        match self {
            Self::Model => Some(reused.model.clone()),
            Self::Key => Some(reused.key.clone()),
            Self::Day => Some(ReportRow::day_name(reused.day)),
            Self::Tenant => Some(reused.tenant.clone()),
            Self::Target | Self::Team | Self::User | Self::Session | Self::Run => None,
        }
    }

    /// To which group a record belongs; nothing for those of nobody.
    #[must_use]
    pub fn of(self, record: &UsageRecord) -> Option<String> {
        match self {
            Self::Model => Some(record.model.clone()),
            Self::Target => record.target.clone(),
            Self::Key => Some(record.key.clone()),
            Self::Day => Some(ReportRow::day_name(ReportRow::day_number(record.at))),
            Self::Tenant => Some(record.tenant.clone()),
            Self::Team => record.team.clone(),
            Self::User => record.user.clone(),
            Self::Session => record.session.clone(),
            Self::Run => record.run.clone(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "usage cannot be grouped by `{name}`, only by {}",
    By::ALL.map(By::as_str).join(", ")
)]
pub struct UnknownGrouping {
    name: String,
}

impl FromStr for By {
    type Err = UnknownGrouping;

    fn from_str(text: &str) -> Result<Self, UnknownGrouping> {
        let found = Self::ALL.into_iter().find(|by| by.as_str() == text);
        found.ok_or_else(|| UnknownGrouping { name: text.to_owned() })
    }
}

/// One group of calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Nothing for calls that belong to nobody: those without a team, by team.
    pub name: Option<String>,
    #[serde(flatten)]
    pub sums: Sums,
}
