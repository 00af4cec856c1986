//! The port of money: what was spent, and who may still spend how much.
//!
//! An [`Account`] has one balance for each [`Period`]. An instance takes a *slice* of an account before it spends: what it
//! holds counts against the cap as if it were spent, for everybody, until it is given back. So the sum of what is spent and
//! what is held never exceeds the cap, however many instances there are, and no call has to ask a database.
//!
//! What a slice was spent on is known from usage records alone: a record and what it charges are stored together. A slice
//! whose holder is gone is worth what its records say, and the rest is free again.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::store::Error;
use crate::{MicroUsd, Timestamp};

mod period;
mod usage;

pub use period::{Per, Period};
pub use usage::{
    By, Cache, Charge, Entry, Report, ReportQuery, ReportRow, Reused, Spent, Sums, Tally, Tokens,
    UnknownGrouping, UsageId, UsageRecord,
};

/// Whose budget it is. Written as the name of its account: `key:main/ci`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope<'a> {
    Tenant { tenant: &'a str },
    Team { tenant: &'a str, team: &'a str },
    Key { tenant: &'a str, key: &'a str },
    User { tenant: &'a str, user: &'a str },
    Session { tenant: &'a str, session: &'a str },
    Run { tenant: &'a str, run: &'a str },
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, tenant, name) = match *self {
            Self::Tenant { tenant } => ("tenant", tenant, None),
            Self::Team { tenant, team } => ("team", tenant, Some(team)),
            Self::Key { tenant, key } => ("key", tenant, Some(key)),
            Self::User { tenant, user } => ("user", tenant, Some(user)),
            Self::Session { tenant, session } => ("session", tenant, Some(session)),
            Self::Run { tenant, run } => ("run", tenant, Some(run)),
        };
        f.write_str(kind)?;
        f.write_str(":")?;
        // A tenant that is named with a slash must not become another tenant's user.
        for part in tenant.split_inclusive(['/', '%']) {
            match part.strip_suffix('/') {
                Some(part) => write!(f, "{part}%2F")?,
                None => match part.strip_suffix('%') {
                    Some(part) => write!(f, "{part}%25")?,
                    None => f.write_str(part)?,
                },
            }
        }
        name.map_or(Ok(()), |name| write!(f, "/{name}"))
    }
}

/// What one instance holds of one account in one period.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SliceId {
    /// A [`Scope`], as text.
    pub account: Arc<str>,
    pub period: Period,
    pub holder: Holder,
}

/// One life of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder {
    /// The same after a restart, and no other instance's.
    pub instance: Arc<str>,
    /// Another one after each restart.
    pub life: Arc<str>,
}

/// A wish to hold more of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub slice: SliceId,
    pub cap: MicroUsd,
    /// Less than this is of no use.
    pub need: MicroUsd,
    /// More than this is not wanted.
    pub want: MicroUsd,
    pub now: Timestamp,
    /// Until when it is held, unless it is renewed. Never made earlier by a later ask.
    pub expires: Timestamp,
}

impl Ask {
    /// What is granted of what is free: all that is needed or nothing, and as the cap comes nearer not much more, so that
    /// others find something too.
    #[must_use]
    pub fn share_of(&self, free: MicroUsd) -> MicroUsd {
        let (need, want) = (self.need.0.max(0), self.want.0.max(self.need.0).max(0));
        if free.0 < need || free.0 <= 0 {
            return MicroUsd(0);
        }
        MicroUsd(want.min(need.max(free.0 / SHARE)))
    }
}

/// At most one part in so many of what is free is granted beyond what is needed.
pub const SHARE: i64 = 8;

/// The slice as it is after an [`Ask`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub granted: MicroUsd,
    /// All that this slice was ever granted and has not given back, what is spent of it included.
    pub amount: MicroUsd,
    /// What records say is spent of it.
    pub spent: MicroUsd,
    /// When the slice was opened. A holder that sees another value than before has lost its slice in between.
    pub opened: Timestamp,
    /// Grows with every ask, and from one slice to the next; names the state that [`Ledger::give_back`] is about.
    pub version: i64,
    /// What is left of the cap for anybody; less than nothing when more was used than was foreseen.
    pub free: MicroUsd,
}

/// Of one account in one period, for all instances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// What usage records say.
    pub spent: MicroUsd,
    /// What instances hold beyond it.
    pub held: MicroUsd,
}

/// Whose slices end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reclaim {
    /// Those of former lives of this holder's instance: that it lives again proves that they are over.
    Former(Holder),
    /// Those that nobody has renewed in time.
    Expired { now: Timestamp },
}

/// Keeps accounts and usage. Each command is stored whole or not at all, and at once for every instance.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Opens the slice or makes it larger, and holds it until `ask.expires`. Grants [`Ask::share_of`] what is free.
    async fn reserve_slice(&self, ask: Ask) -> Result<Grant, Error>;
    /// Makes the slice smaller, unless it was asked for since `version` or as much is not left of it; says whether it was.
    async fn give_back(
        &self,
        slice: &SliceId,
        version: i64,
        amount: MicroUsd,
    ) -> Result<bool, Error>;
    /// Ends the slice, unless it was asked for since `version`, and says whether it did: it is worth what its usage records
    /// say. Those that come later are charged to the account.
    async fn settle(&self, slice: &SliceId, version: i64) -> Result<bool, Error>;
    /// Holds all slices of `holder` until `expires`; says how many they are.
    async fn renew(&self, holder: &Holder, expires: Timestamp) -> Result<u64, Error>;
    /// Settles the slices of those who cannot do it themselves; says how many they were.
    async fn reclaim(&self, whose: Reclaim) -> Result<u64, Error>;
    async fn balance(&self, account: &str, period: Period) -> Result<Balance, Error>;

    /// Stores records and what they charge. A record whose id is there already is left as it is, and charges nothing.
    async fn append_usage(&self, entries: Vec<Entry>) -> Result<(), Error>;
    /// Counts calls that asked no target. A tally that was heard before is left as it is.
    async fn append_reused(&self, tally: Tally) -> Result<(), Error>;
    async fn report(&self, query: ReportQuery) -> Result<Report, Error>;
    /// The same usage in groups, those that cost most first; at most `query.rows_max` of them.
    async fn spending(&self, query: ReportQuery, by: By) -> Result<Vec<Spent>, Error>;
    /// Takes a person out of usage and accounts; what was spent stays known. Says from how many records.
    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error>;
}

#[cfg(test)]
mod tests;
