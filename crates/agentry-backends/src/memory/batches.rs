//! The model of a store of batches.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use agentry_core::Timestamp;
use agentry_core::batches::{
    Answer, Batch, Batches, Claim, Claimed, Counts, Dropped, File, ItemResult, Lease, NewBatch,
    NewItem, Page, Waiting,
};
use agentry_core::store::Error;
use async_trait::async_trait;
use bytes::Bytes;

use super::MemoryStore;

/// Of all files together: whoever may send one may send many.
const FILES_BYTES_MAX: usize = 256 << 20;

#[derive(Default)]
pub(super) struct Kept {
    /// In the order in which they were made.
    batches: BTreeMap<u64, Entry>,
    files: BTreeMap<u64, (File, Bytes)>,
    next: u64,
}

struct Entry {
    batch: Batch,
    items: Vec<Item>,
}

struct Item {
    asked: NewItem,
    state: State,
    claim: i64,
    tries: u32,
}

enum State {
    Waiting,
    Held { holder: String, until: Timestamp },
    Over(Result<Answer, Dropped>),
}

impl Item {
    fn is_free(&self, now: Timestamp) -> bool {
        match &self.state {
            State::Waiting => true,
            State::Held { holder: _, until } => *until <= now,
            State::Over(_) => false,
        }
    }
}

impl Entry {
    fn drop_free(&mut self, why: Dropped, now: Timestamp) -> u64 {
        let mut dropped = 0;
        for item in self.items.iter_mut().filter(|item| item.is_free(now)) {
            item.state = State::Over(Err(why));
            dropped += 1;
        }
        self.batch.counts.dropped += dropped;
        self.finish(now);
        dropped
    }

    fn finish(&mut self, now: Timestamp) {
        let Counts { total, completed, failed, dropped } = self.batch.counts;
        if completed + failed + dropped == total {
            self.batch.finished = self.batch.finished.or(Some(now));
        }
    }
}

impl Kept {
    fn entry(&self, id: &str) -> Option<&Entry> {
        self.batches.values().find(|entry| entry.batch.id == id)
    }

    fn entry_mut(&mut self, id: &str) -> Option<&mut Entry> {
        self.batches.values_mut().find(|entry| entry.batch.id == id)
    }

    fn of(&self, tenant: &str, id: &str) -> Option<&Entry> {
        self.entry(id).filter(|entry| entry.batch.owner.tenant == tenant)
    }

    fn held(&mut self, lease: &Lease) -> Option<(&mut Item, &mut Batch)> {
        let entry = self.entry_mut(&lease.batch)?;
        let item = entry.items.get_mut(usize::try_from(lease.number).ok()?)?;
        let ours = item.claim == lease.claim && matches!(item.state, State::Held { .. });
        ours.then_some((item, &mut entry.batch))
    }
}

impl MemoryStore {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Batches for MemoryStore {
    async fn create(&self, batch: NewBatch) -> Result<(), Error> {
        let mut kept = self.kept();
        if kept.entry(&batch.id).is_some() {
            return Err(Error::Refused(format!("there is a batch {} already", batch.id)));
        }
        let NewBatch {
            id,
            owner,
            endpoint,
            input_file,
            metadata,
            created,
            expires,
            keep_until,
            items,
        } = batch;
        let counts = Counts { total: items.len() as u64, ..Counts::default() };
        let finished = items.is_empty().then_some(created);
        let batch = Batch {
            id,
            owner,
            endpoint,
            input_file,
            metadata,
            created,
            expires,
            keep_until,
            cancelled: None,
            finished,
            counts,
        };
        let item = |asked| Item { asked, state: State::Waiting, claim: 0, tries: 0 };
        let items = items.into_iter().map(item).collect();
        kept.next += 1;
        let number = kept.next;
        kept.batches.insert(number, Entry { batch, items });
        Ok(())
    }

    async fn batch(&self, tenant: &str, id: &str) -> Result<Option<Batch>, Error> {
        Ok(self.kept().of(tenant, id).map(|entry| entry.batch.clone()))
    }

    async fn batches(&self, page: Page) -> Result<Vec<Batch>, Error> {
        let Page { tenant, before, max } = page;
        let kept = self.kept();
        let mut newest = kept
            .batches
            .values()
            .rev()
            .map(|entry| &entry.batch)
            .filter(|batch| batch.owner.tenant == tenant);
        if let Some(before) = before {
            newest.find(|batch| batch.id == before);
        }
        Ok(newest.take(max).cloned().collect())
    }

    async fn results(
        &self,
        (tenant, id): (&str, &str),
        from: u64,
        max: usize,
    ) -> Result<Vec<ItemResult>, Error> {
        let kept = self.kept();
        let items = kept.of(tenant, id).map(|entry| entry.items.as_slice()).unwrap_or_default();
        let over = (0..).zip(items).filter_map(|(number, item)| match &item.state {
            State::Over(outcome) if number >= from => {
                let custom_id = item.asked.custom_id.clone();
                Some(ItemResult { number, custom_id, outcome: outcome.clone() })
            }
            State::Over(_) | State::Waiting | State::Held { .. } => None,
        });
        Ok(over.take(max).collect())
    }

    async fn cancel(&self, tenant: &str, id: &str, now: Timestamp) -> Result<bool, Error> {
        let mut kept = self.kept();
        let Some(entry) = kept.entry_mut(id).filter(|entry| entry.batch.owner.tenant == tenant)
        else {
            return Ok(false);
        };
        if entry.batch.finished.is_none() {
            entry.batch.cancelled = entry.batch.cancelled.or(Some(now));
            entry.drop_free(Dropped::Cancelled, now);
        }
        Ok(true)
    }

    async fn waiting(&self, now: Timestamp, of_each: usize) -> Result<Vec<Waiting>, Error> {
        let kept = self.kept();
        let open = kept.batches.values().filter(|Entry { batch, items }| {
            batch.cancelled.is_none()
                && batch.expires > now
                && items.iter().any(|item| item.is_free(now))
        });
        let waiting = open.map(|Entry { batch, .. }| Waiting {
            batch: batch.id.clone(),
            tenant: batch.owner.tenant.clone(),
        });
        let mut seen = BTreeMap::<String, usize>::new();
        let among_first = |waiting: &Waiting| {
            let seen = seen.entry(waiting.tenant.clone()).or_default();
            *seen += 1;
            *seen <= of_each
        };
        Ok(waiting.filter(among_first).collect())
    }

    async fn claim(&self, claim: Claim) -> Result<Option<Claimed>, Error> {
        let Claim { batch, holder, now, lease_until } = claim;
        let mut kept = self.kept();
        let Some(Entry { batch, items }) = kept.entry_mut(&batch) else { return Ok(None) };
        if batch.cancelled.is_some() || batch.expires <= now {
            return Ok(None);
        }
        let free = (0..).zip(items).find(|(_, item)| item.is_free(now));
        Ok(free.map(|(number, item)| {
            item.claim += 1;
            item.state = State::Held { holder, until: lease_until };
            Claimed {
                lease: Lease { batch: batch.id.clone(), number, claim: item.claim },
                owner: batch.owner.clone(),
                url: item.asked.url.clone(),
                body: item.asked.body.clone(),
                tries: item.tries,
            }
        }))
    }

    async fn renew(&self, name: &str, lease_until: Timestamp) -> Result<(), Error> {
        let mut kept = self.kept();
        for item in kept.batches.values_mut().flat_map(|entry| &mut entry.items) {
            if let State::Held { holder, until } = &mut item.state
                && holder == name
            {
                *until = lease_until;
            }
        }
        Ok(())
    }

    async fn release(&self, name: &str) -> Result<u64, Error> {
        let mut released = 0;
        for item in self.kept().batches.values_mut().flat_map(|entry| &mut entry.items) {
            if matches!(&item.state, State::Held { holder, .. } if holder == name) {
                item.state = State::Waiting;
                released += 1;
            }
        }
        Ok(released)
    }

    async fn finish(&self, lease: &Lease, answer: Answer, now: Timestamp) -> Result<bool, Error> {
        let mut kept = self.kept();
        let Some((item, batch)) = kept.held(lease) else { return Ok(false) };
        match answer.is_good() {
            true => batch.counts.completed += 1,
            false => batch.counts.failed += 1,
        }
        item.asked.body = Bytes::new();
        item.state = State::Over(Ok(answer));
        if let Some(entry) = kept.entry_mut(&lease.batch) {
            entry.finish(now);
        }
        Ok(true)
    }

    async fn put_back(&self, lease: &Lease, tries: u32) -> Result<(), Error> {
        if let Some((item, _)) = self.kept().held(lease) {
            item.state = State::Waiting;
            item.tries = tries;
        }
        Ok(())
    }

    async fn sweep(&self, now: Timestamp) -> Result<u64, Error> {
        let mut dropped = 0;
        for entry in self.kept().batches.values_mut() {
            let Batch { cancelled, expires, finished, .. } = &entry.batch;
            let why = match (finished, cancelled) {
                (Some(_), _) => continue,
                (None, Some(_)) => Dropped::Cancelled,
                (None, None) if *expires <= now => Dropped::Expired,
                (None, None) => continue,
            };
            dropped += entry.drop_free(why, now);
        }
        Ok(dropped)
    }

    async fn put_file(&self, file: File, content: Bytes) -> Result<(), Error> {
        let mut kept = self.kept();
        let bytes: usize = kept.files.values().map(|(_, content)| content.len()).sum();
        if bytes.saturating_add(content.len()) > FILES_BYTES_MAX {
            return Err(Error::Overloaded);
        }
        kept.next += 1;
        let number = kept.next;
        kept.files.insert(number, (file, content));
        Ok(())
    }

    async fn file(&self, tenant: &str, id: &str) -> Result<Option<File>, Error> {
        let kept = self.kept();
        let found = kept.files.values().find(|(file, _)| file.id == id && file.tenant == tenant);
        Ok(found.map(|(file, _)| file.clone()))
    }

    async fn files(&self, page: Page) -> Result<Vec<File>, Error> {
        let Page { tenant, before, max } = page;
        let kept = self.kept();
        let mut newest =
            kept.files.values().rev().map(|(file, _)| file).filter(|file| file.tenant == tenant);
        if let Some(before) = before {
            newest.find(|file| file.id == before);
        }
        Ok(newest.take(max).cloned().collect())
    }

    async fn content(&self, tenant: &str, id: &str) -> Result<Option<Bytes>, Error> {
        let kept = self.kept();
        let found = kept.files.values().find(|(file, _)| file.id == id && file.tenant == tenant);
        Ok(found.map(|(_, content)| content.clone()))
    }

    async fn delete_file(&self, tenant: &str, id: &str) -> Result<bool, Error> {
        let mut kept = self.kept();
        let before = kept.files.len();
        kept.files.retain(|_, (file, _)| file.id != id || file.tenant != tenant);
        Ok(kept.files.len() < before)
    }

    async fn forget_expired(&self, now: Timestamp) -> Result<u64, Error> {
        Ok(self.kept().forget(|until, _, _| until <= now))
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        Ok(self.kept().forget(|_, of, whose| of == tenant && whose == Some(user)))
    }
}

impl Kept {
    /// All of which `is_over` says so, by until when it is kept, its tenant and its user.
    fn forget(&mut self, is_over: impl Fn(Timestamp, &str, Option<&str>) -> bool) -> u64 {
        let before = self.batches.len() + self.files.len();
        self.batches.retain(|_, Entry { batch, .. }| {
            let owner = &batch.owner;
            !is_over(batch.keep_until, &owner.tenant, owner.user.as_deref())
        });
        self.files
            .retain(|_, (file, _)| !is_over(file.keep_until, &file.tenant, file.user.as_deref()));
        (before - self.batches.len() - self.files.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_do_not_fill_the_memory() {
        let store = MemoryStore::new();
        let file = |number: usize| File {
            id: format!("file-{number}"),
            tenant: "main".to_owned(),
            user: None,
            name: "a".to_owned(),
            bytes: 0,
            created: Timestamp::from_millis(0),
            keep_until: Timestamp::from_millis(1),
        };
        // One allocation, which counts as often as it is sent.
        let content = Bytes::from(vec![0; FILES_BYTES_MAX / 8]);
        for number in 0..8 {
            store.put_file(file(number), content.clone()).await.unwrap();
        }
        let one = Bytes::from_static(b"x");
        assert_eq!(store.put_file(file(8), one.clone()).await, Err(Error::Overloaded));
        assert_eq!(store.delete_file("main", "file-3").await, Ok(true));
        assert_eq!(store.put_file(file(8), one).await, Ok(()));
    }
}
