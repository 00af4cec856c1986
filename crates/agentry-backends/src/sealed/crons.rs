//! The port of crons: what their runs are given. The rest is searched, or says when they come.

use agentry_core::Timestamp;
use agentry_core::crons::{
    Checked, Claim, Cron, Crons, Due, NewCron, Query, Replaced, Replacement, Search,
};
use agentry_core::store::Error;
use async_trait::async_trait;

use super::Sealed;
use super::keyring::{Keyring, Safe};

const PAYLOAD: &str = "payload";

impl Keyring {
    fn cron(&self, tenant: &str, id: &str) -> Result<Safe<'_>, Error> {
        self.safe(format!("cron\0{tenant}\0{id}").into_bytes())
    }

    fn planned(&self, (tenant, id): (&str, &str), checked: &mut Checked) -> Result<(), Error> {
        let safe = self.cron(tenant, id)?;
        checked.payload = safe.whole(PAYLOAD, &mut checked.definition.payload)?;
        Ok(())
    }

    fn cron_of(&self, cron: &mut Cron) -> Result<(), Error> {
        self.cron(&cron.tenant, &cron.id)?.whole_of(PAYLOAD, &mut cron.definition.payload)
    }
}

#[async_trait]
impl<S: Crons + ?Sized> Crons for Sealed<S> {
    async fn create(&self, tenant: &str, mut new: NewCron) -> Result<Cron, Error> {
        let id = new.id().to_owned();
        self.keys.planned((tenant, &id), &mut new.definition)?;
        let mut cron = self.inner.create(tenant, new).await?;
        self.keys.cron_of(&mut cron)?;
        Ok(cron)
    }

    async fn cron(&self, tenant: &str, id: &str) -> Result<Option<Cron>, Error> {
        let mut found = self.inner.cron(tenant, id).await?;
        found.iter_mut().try_for_each(|cron| self.keys.cron_of(cron))?;
        Ok(found)
    }

    async fn replace(
        &self,
        (tenant, id): (&str, &str),
        revision: u64,
        mut by: Replacement,
    ) -> Result<Replaced, Error> {
        self.keys.planned((tenant, id), &mut by.definition)?;
        let mut replaced = self.inner.replace((tenant, id), revision, by).await?;
        if let Replaced::Done(cron) = &mut replaced {
            self.keys.cron_of(cron)?;
        }
        Ok(replaced)
    }

    async fn search(&self, tenant: &str, search: &Search) -> Result<Vec<Cron>, Error> {
        let mut found = self.inner.search(tenant, search).await?;
        found.iter_mut().try_for_each(|cron| self.keys.cron_of(cron))?;
        Ok(found)
    }

    async fn count(&self, tenant: &str, query: &Query) -> Result<u64, Error> {
        self.inner.count(tenant, query).await
    }

    async fn delete(&self, tenant: &str, id: &str) -> Result<bool, Error> {
        self.inner.delete(tenant, id).await
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        self.inner.forget_user(tenant, user).await
    }

    async fn due(&self, claim: Claim) -> Result<Vec<Due>, Error> {
        let mut due = self.inner.due(claim).await?;
        due.iter_mut().try_for_each(|due| self.keys.cron_of(&mut due.cron))?;
        Ok(due)
    }

    async fn advance(&self, due: &Due, next: Option<Timestamp>) -> Result<bool, Error> {
        self.inner.advance(due, next).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        self.inner.next_due().await
    }
}
