//! The port of batches: requests, answers and files.

use agentry_core::Timestamp;
use agentry_core::batches::{
    Answer, Batch, Batches, Claim, Claimed, File, ItemResult, Lease, NewBatch, Page, Waiting,
};
use agentry_core::store::Error;
use async_trait::async_trait;
use bytes::Bytes;

use super::Sealed;
use super::keyring::{Keyring, Safe};

const CONTENT: &str = "content";

impl Keyring {
    fn batch(&self, id: &str) -> Result<Safe<'_>, Error> {
        self.safe(format!("batch\0{id}").into_bytes())
    }

    fn file(&self, tenant: &str, id: &str) -> Result<Safe<'_>, Error> {
        self.safe(format!("file\0{tenant}\0{id}").into_bytes())
    }
}

fn body(number: u64) -> String {
    format!("body\0{number}")
}

fn answer(number: u64) -> String {
    format!("answer\0{number}")
}

#[async_trait]
impl<S: Batches + ?Sized> Batches for Sealed<S> {
    async fn create(&self, mut batch: NewBatch) -> Result<(), Error> {
        let safe = self.keys.batch(&batch.id)?;
        for (number, item) in (0..).zip(&mut batch.items) {
            item.body = safe.bytes(&body(number), &item.body)?;
        }
        self.inner.create(batch).await
    }

    async fn batch(&self, tenant: &str, id: &str) -> Result<Option<Batch>, Error> {
        self.inner.batch(tenant, id).await
    }

    async fn batches(&self, page: Page) -> Result<Vec<Batch>, Error> {
        self.inner.batches(page).await
    }

    async fn results(
        &self,
        (tenant, id): (&str, &str),
        from: u64,
        max: usize,
    ) -> Result<Vec<ItemResult>, Error> {
        let mut results = self.inner.results((tenant, id), from, max).await?;
        let safe = self.keys.batch(id)?;
        for ItemResult { number, outcome, .. } in &mut results {
            if let Ok(given) = outcome {
                given.body = safe.bytes_of(&answer(*number), given.body.clone())?;
            }
        }
        Ok(results)
    }

    async fn cancel(&self, tenant: &str, id: &str, now: Timestamp) -> Result<bool, Error> {
        self.inner.cancel(tenant, id, now).await
    }

    async fn waiting(&self, now: Timestamp, of_each: usize) -> Result<Vec<Waiting>, Error> {
        self.inner.waiting(now, of_each).await
    }

    async fn claim(&self, claim: Claim) -> Result<Option<Claimed>, Error> {
        let Some(mut claimed) = self.inner.claim(claim).await? else { return Ok(None) };
        let Lease { batch, number, .. } = &claimed.lease;
        claimed.body = self.keys.batch(batch)?.bytes_of(&body(*number), claimed.body)?;
        Ok(Some(claimed))
    }

    async fn renew(&self, holder: &str, lease_until: Timestamp) -> Result<(), Error> {
        self.inner.renew(holder, lease_until).await
    }

    async fn release(&self, holder: &str) -> Result<u64, Error> {
        self.inner.release(holder).await
    }

    async fn finish(&self, lease: &Lease, given: Answer, now: Timestamp) -> Result<bool, Error> {
        let sealed = self.keys.batch(&lease.batch)?.bytes(&answer(lease.number), &given.body)?;
        self.inner.finish(lease, Answer { body: sealed, ..given }, now).await
    }

    async fn put_back(&self, lease: &Lease, tries: u32) -> Result<(), Error> {
        self.inner.put_back(lease, tries).await
    }

    async fn sweep(&self, now: Timestamp) -> Result<u64, Error> {
        self.inner.sweep(now).await
    }

    async fn put_file(&self, file: File, content: Bytes) -> Result<(), Error> {
        let sealed = self.keys.file(&file.tenant, &file.id)?.bytes(CONTENT, &content)?;
        self.inner.put_file(file, sealed).await
    }

    async fn file(&self, tenant: &str, id: &str) -> Result<Option<File>, Error> {
        self.inner.file(tenant, id).await
    }

    async fn files(&self, page: Page) -> Result<Vec<File>, Error> {
        self.inner.files(page).await
    }

    async fn content(&self, tenant: &str, id: &str) -> Result<Option<Bytes>, Error> {
        let Some(sealed) = self.inner.content(tenant, id).await? else { return Ok(None) };
        self.keys.file(tenant, id)?.bytes_of(CONTENT, sealed).map(Some)
    }

    async fn delete_file(&self, tenant: &str, id: &str) -> Result<bool, Error> {
        self.inner.delete_file(tenant, id).await
    }

    async fn forget_expired(&self, now: Timestamp) -> Result<u64, Error> {
        self.inner.forget_expired(now).await
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        self.inner.forget_user(tenant, user).await
    }
}
