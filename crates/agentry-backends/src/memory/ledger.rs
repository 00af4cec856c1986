//! The model of a ledger.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentry_core::ledger::{
    Ask, Balance, By, Entry, Grant, Holder, Ledger, Period, Reclaim, Report, ReportQuery,
    ReportRow, Reused, Scope, SliceId, Spent, Sums, Tally, UsageId, UsageRecord,
};
use agentry_core::store::Error;
use agentry_core::{MicroUsd, Timestamp};
use async_trait::async_trait;

use super::MemoryStore;

#[derive(Default)]
pub(super) struct Books {
    /// What was spent outside of slices that are still open.
    settled: BTreeMap<(Arc<str>, Period), i64>,
    slices: BTreeMap<SliceId, Slice>,
    usage: BTreeMap<UsageId, Arc<UsageRecord>>,
    /// By day, tenant, key and model.
    reused: BTreeMap<(i64, String, String, String), Reused>,
    /// The last tally of each.
    heard: BTreeMap<Holder, i64>,
    /// Of so many records the oldest go. What was spent is known without them.
    usage_max: Option<usize>,
}

struct Slice {
    amount: i64,
    spent: i64,
    opened: Timestamp,
    expires: Timestamp,
    version: i64,
}

impl Books {
    pub(super) fn keeping_usage(records_max: usize) -> Self {
        Self { usage_max: Some(records_max), ..Self::default() }
    }

    fn reserve(&mut self, ask: &Ask) -> Grant {
        let SliceId { account, period, holder: _ } = &ask.slice;
        let balance = self.balance(account, *period);
        let free = MicroUsd(ask.cap.0.saturating_sub(balance.spent.0 + balance.held.0));
        let granted = ask.share_of(free);
        let opened = Slice {
            amount: 0,
            spent: 0,
            opened: ask.now,
            expires: ask.expires,
            version: ask.now.as_micros(),
        };
        let slice = self.slices.entry(ask.slice.clone()).or_insert(opened);
        slice.amount += granted.0;
        slice.version += 1;
        slice.expires = slice.expires.max(ask.expires);
        Grant {
            granted,
            amount: MicroUsd(slice.amount),
            spent: MicroUsd(slice.spent),
            opened: slice.opened,
            version: slice.version,
            free: MicroUsd(free.0 - granted.0),
        }
    }

    fn balance(&self, account: &Arc<str>, period: Period) -> Balance {
        let settled = self.settled.get(&(Arc::clone(account), period)).copied().unwrap_or(0);
        let of_account = |id: &SliceId| id.account == *account && id.period == period;
        let slices = self.slices.iter().filter(|(id, _)| of_account(id));
        slices.fold(Balance { spent: MicroUsd(settled), held: MicroUsd(0) }, |sum, (_, slice)| {
            let Slice { amount, spent, .. } = slice;
            Balance {
                spent: MicroUsd(sum.spent.0 + spent),
                held: MicroUsd(sum.held.0 + amount - spent),
            }
        })
    }

    fn give_back(&mut self, id: &SliceId, version: i64, amount: i64) -> bool {
        match self.slices.get_mut(id) {
            Some(slice)
                if slice.version == version
                    && amount >= 0
                    && slice.amount - slice.spent >= amount =>
            {
                slice.amount -= amount;
                true
            }
            Some(_) | None => false,
        }
    }

    fn settle_where(&mut self, ends: impl Fn(&SliceId, &Slice) -> bool) -> u64 {
        let mut ended = 0;
        let settled = &mut self.settled;
        self.slices.retain(|id, slice| {
            if !ends(id, slice) {
                return true;
            }
            *settled.entry((Arc::clone(&id.account), id.period)).or_default() += slice.spent;
            ended += 1;
            false
        });
        ended
    }

    fn append(&mut self, entries: Vec<Entry>) {
        for Entry { record, charges } in entries {
            if self.usage.contains_key(&record.id) {
                continue;
            }
            self.usage.insert(record.id, record);
            if self.usage_max.is_some_and(|max| self.usage.len() > max) {
                self.usage.pop_first();
            }
            for charge in charges {
                let amount = charge.amount.0;
                if let Some(slice) = self.slices.get_mut(&*charge.slice) {
                    slice.spent += amount;
                    // More than was granted is taken from everybody.
                    slice.amount = slice.amount.max(slice.spent);
                } else {
                    let SliceId { account, period, holder: _ } = &*charge.slice;
                    *self.settled.entry((Arc::clone(account), *period)).or_default() += amount;
                }
            }
        }
    }

    fn count(&mut self, tally: Tally) {
        let Tally { holder, number, reused } = tally;
        let heard = self.heard.entry(holder).or_default();
        if number <= *heard {
            return;
        }
        *heard = number;
        for one in reused {
            let name = (one.day, one.tenant.clone(), one.key.clone(), one.model.clone());
            let none = || Reused { calls: 0, saved: MicroUsd(0), ..one.clone() };
            let sum = self.reused.entry(name).or_insert_with(none);
            sum.calls += one.calls;
            sum.saved = sum.saved + one.saved;
        }
    }

    fn report(&self, query: &ReportQuery) -> Report {
        let mut report = Report::default();
        let mut rows: BTreeMap<_, ReportRow> = BTreeMap::new();
        for record in self.usage.values().filter(|record| query.covers(record)) {
            report.totals.add(record);
            let UsageRecord { tenant, key, model, .. } = record.as_ref();
            let day = ReportRow::day_number(record.at);
            let row = rows.entry((day, tenant, key, model)).or_insert_with(|| ReportRow {
                day: ReportRow::day_name(day),
                tenant: tenant.clone(),
                key: key.clone(),
                model: model.clone(),
                sums: Default::default(),
            });
            row.sums.add(record);
        }
        for reused in self.reused.values().filter(|reused| query.covers_reused(reused)) {
            report.totals.add_reused(reused);
            let Reused { day, tenant, key, model, .. } = reused;
            let row = rows.entry((*day, tenant, key, model)).or_insert_with(|| ReportRow {
                day: ReportRow::day_name(*day),
                tenant: tenant.clone(),
                key: key.clone(),
                model: model.clone(),
                sums: Default::default(),
            });
            row.sums.add_reused(reused);
        }
        report.rows = rows.into_values().take(query.rows_max).collect();
        report
    }

    fn spending(&self, query: &ReportQuery, by: By) -> Vec<Spent> {
        let mut groups: BTreeMap<Option<String>, Sums> = BTreeMap::new();
        for record in self.usage.values().filter(|record| query.covers(record)) {
            groups.entry(by.of(record)).or_default().add(record);
        }
        for reused in self.reused.values().filter(|reused| query.covers_reused(reused)) {
            groups.entry(by.of_reused(reused)).or_default().add_reused(reused);
        }
        let mut spent: Vec<Spent> =
            groups.into_iter().map(|(name, sums)| Spent { name, sums }).collect();
        spent.sort_by_key(|group| std::cmp::Reverse(group.sums.cost));
        spent.truncate(query.rows_max);
        spent
    }

    fn forget(&mut self, tenant: &str, user: &str) -> u64 {
        let account = Scope::User { tenant, user }.to_string();
        self.settled.retain(|(name, _), _| **name != *account);
        self.slices.retain(|id, _| *id.account != *account);
        let theirs = self.usage.values_mut();
        let theirs = theirs.filter(|it| it.tenant == tenant && it.user.as_deref() == Some(user));
        let mut forgotten = 0;
        for record in theirs {
            let record = Arc::make_mut(record);
            record.user = None;
            record.session = None;
            forgotten += 1;
        }
        forgotten
    }
}

impl MemoryStore {
    fn books(&self) -> MutexGuard<'_, Books> {
        let books: &Mutex<Books> = &self.books;
        books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Ledger for MemoryStore {
    async fn reserve_slice(&self, ask: Ask) -> Result<Grant, Error> {
        Ok(self.books().reserve(&ask))
    }

    async fn give_back(
        &self,
        slice: &SliceId,
        version: i64,
        amount: MicroUsd,
    ) -> Result<bool, Error> {
        Ok(self.books().give_back(slice, version, amount.0))
    }

    async fn settle(&self, slice: &SliceId, version: i64) -> Result<bool, Error> {
        Ok(self.books().settle_where(|id, open| id == slice && open.version == version) > 0)
    }

    async fn renew(&self, holder: &Holder, expires: Timestamp) -> Result<u64, Error> {
        let mut books = self.books();
        let theirs = books.slices.iter_mut().filter(|(id, _)| id.holder == *holder);
        let mut renewed = 0;
        for (_, slice) in theirs {
            slice.expires = slice.expires.max(expires);
            renewed += 1;
        }
        Ok(renewed)
    }

    async fn reclaim(&self, whose: Reclaim) -> Result<u64, Error> {
        Ok(self.books().settle_where(|id, slice| match &whose {
            Reclaim::Former(Holder { instance, life }) => {
                id.holder.instance == *instance && id.holder.life != *life
            }
            Reclaim::Expired { now } => slice.expires <= *now,
        }))
    }

    async fn balance(&self, account: &str, period: Period) -> Result<Balance, Error> {
        Ok(self.books().balance(&account.into(), period))
    }

    async fn append_usage(&self, entries: Vec<Entry>) -> Result<(), Error> {
        self.books().append(entries);
        Ok(())
    }

    async fn append_reused(&self, tally: Tally) -> Result<(), Error> {
        self.books().count(tally);
        Ok(())
    }

    async fn report(&self, query: ReportQuery) -> Result<Report, Error> {
        Ok(self.books().report(&query))
    }

    async fn spending(&self, query: ReportQuery, by: By) -> Result<Vec<Spent>, Error> {
        Ok(self.books().spending(&query, by))
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        Ok(self.books().forget(tenant, user))
    }
}

#[cfg(test)]
mod tests;
