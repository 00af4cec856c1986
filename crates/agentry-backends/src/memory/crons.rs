//! The model of a store of crons.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use agentry_core::Timestamp;
use agentry_core::crons::{Claim, Cron, Crons, Due, NewCron, Query, Replaced, Replacement, Search};
use agentry_core::listing::Window;
use agentry_core::store::Error;
use async_trait::async_trait;

use super::MemoryStore;

/// By tenant and id; until when its occurrence is held.
pub(super) type Calendar = BTreeMap<(String, String), (Cron, Option<Timestamp>)>;

impl MemoryStore {
    fn calendar(&self) -> MutexGuard<'_, Calendar> {
        self.crons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(tenant: &str, id: &str) -> (String, String) {
    (tenant.to_owned(), id.to_owned())
}

fn matching<'a>(
    calendar: &'a Calendar,
    tenant: &'a str,
    query: &'a Query,
) -> impl Iterator<Item = &'a Cron> {
    let all = calendar.values().map(|(cron, _)| cron);
    all.filter(move |cron| cron.tenant == tenant && query.matches(cron))
}

#[async_trait]
impl Crons for MemoryStore {
    async fn create(&self, tenant: &str, new: NewCron) -> Result<Cron, Error> {
        let mut calendar = self.calendar();
        let key = key(tenant, new.id());
        if calendar.contains_key(&key) {
            return Err(Error::Refused("there is a cron with that id".to_owned()));
        }
        let cron = new.into_cron(tenant);
        calendar.insert(key, (cron.clone(), None));
        Ok(cron)
    }

    async fn cron(&self, tenant: &str, id: &str) -> Result<Option<Cron>, Error> {
        Ok(self.calendar().get(&key(tenant, id)).map(|(cron, _)| cron.clone()))
    }

    async fn replace(
        &self,
        (tenant, id): (&str, &str),
        revision: u64,
        by: Replacement,
    ) -> Result<Replaced, Error> {
        let mut calendar = self.calendar();
        let Some((cron, held_until)) = calendar.get_mut(&key(tenant, id)) else {
            return Ok(Replaced::NotFound);
        };
        if cron.revision != revision {
            return Ok(Replaced::Conflict);
        }
        let Replacement { definition, next, updated } = by;
        if cron.next != next {
            *held_until = None;
        }
        cron.definition = definition.definition;
        (cron.next, cron.updated) = (next, updated);
        cron.revision += 1;
        Ok(Replaced::Done(Box::new(cron.clone())))
    }

    async fn search(&self, tenant: &str, search: &Search) -> Result<Vec<Cron>, Error> {
        let calendar = self.calendar();
        let mut window = Window::new(search.span, |left, right| search.compare(left, right));
        matching(&calendar, tenant, &search.query).for_each(|cron| window.offer(cron.clone()));
        Ok(window.finish())
    }

    async fn count(&self, tenant: &str, query: &Query) -> Result<u64, Error> {
        Ok(matching(&self.calendar(), tenant, query).count() as u64)
    }

    async fn delete(&self, tenant: &str, id: &str) -> Result<bool, Error> {
        Ok(self.calendar().remove(&key(tenant, id)).is_some())
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        let mut calendar = self.calendar();
        let before = calendar.len();
        calendar.retain(|_, (cron, _)| {
            cron.tenant != tenant || cron.definition.user.as_deref() != Some(user)
        });
        Ok((before - calendar.len()) as u64)
    }

    async fn due(&self, claim: Claim) -> Result<Vec<Due>, Error> {
        let Claim { now, lease_until, max } = claim;
        let mut calendar = self.calendar();
        let mut free = Vec::new();
        for (key, (cron, held_until)) in calendar.iter_mut() {
            let Some(occurrence) = cron.next.filter(|next| *next <= now) else { continue };
            if cron.definition.end.is_some_and(|end| end <= now) {
                cron.next = None;
                cron.revision += 1;
            } else if held_until.is_none_or(|until| until <= now) {
                free.push((occurrence, key.clone()));
            }
        }
        free.sort();
        free.truncate(max);
        let take = |(occurrence, key)| {
            let (cron, held_until) = calendar.get_mut(&key)?;
            *held_until = Some(lease_until);
            Some(Due { cron: cron.clone(), occurrence })
        };
        Ok(free.into_iter().filter_map(take).collect())
    }

    async fn advance(&self, due: &Due, next: Option<Timestamp>) -> Result<bool, Error> {
        let mut calendar = self.calendar();
        let held = calendar.get_mut(&key(&due.cron.tenant, &due.cron.id));
        let Some((cron, held_until)) = held else { return Ok(false) };
        if cron.next != Some(due.occurrence) {
            return Ok(false);
        }
        (cron.next, *held_until) = (next, None);
        cron.revision += 1;
        Ok(true)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        let calendar = self.calendar();
        let free = |(cron, held_until): &(Cron, Option<Timestamp>)| {
            cron.next.map(|next| held_until.map_or(next, |until| until.max(next)))
        };
        Ok(calendar.values().filter_map(free).min())
    }
}
