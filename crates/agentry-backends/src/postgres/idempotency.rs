//! Answered requests.

use agentry_core::Timestamp;
use agentry_core::idempotency::{ANSWER_BYTES_MAX, Begin, Begun, Idempotency, Ticket};
use agentry_core::store::Error;
use async_trait::async_trait;
use bytes::Bytes;

use super::{PostgresStore, migrate};

pub(super) const MIGRATIONS: migrate::List = migrate::List {
    name: "idempotency",
    steps: &[include_str!("idempotency/1.sql"), include_str!("idempotency/2.sql")],
};

const BEGIN: &str = "
INSERT INTO requests AS r (tenant, key, digest, attempt, busy_until, expires, \"user\")
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant, key) DO UPDATE
  SET digest = excluded.digest, attempt = greatest(r.attempt + 1, excluded.attempt),
      busy_until = excluded.busy_until, expires = excluded.expires, answer = NULL,
      \"user\" = excluded.\"user\"
  WHERE r.expires <= $4 OR (r.busy_until <= $4 AND r.digest = excluded.digest)
RETURNING attempt";

const FIND: &str = "
SELECT digest = $3, busy_until IS NOT NULL, answer FROM requests WHERE tenant = $1 AND key = $2";

const FINISH: &str = "
UPDATE requests SET busy_until = NULL, answer = $4
WHERE tenant = $1 AND key = $2 AND attempt = $3 AND busy_until IS NOT NULL RETURNING 1";

const ABANDON: &str = "
DELETE FROM requests
WHERE tenant = $1 AND key = $2 AND attempt = $3 AND busy_until IS NOT NULL";

const FORGET_EXPIRED: &str = "
WITH gone AS (DELETE FROM requests WHERE expires <= $1 RETURNING 1) SELECT count(*) FROM gone";

const FORGET_USER: &str = "
WITH gone AS (DELETE FROM requests WHERE tenant = $1 AND \"user\" = $2 RETURNING 1)
SELECT count(*) FROM gone";

#[async_trait]
impl Idempotency for PostgresStore {
    async fn begin(&self, begin: Begin) -> Result<Begun, Error> {
        let Begin { tenant, key, user, request, now, busy_until, keep_until } = begin;
        let digest: &[u8] = &request;
        let (now, busy_until, keep_until) =
            (now.as_micros(), busy_until.as_micros(), keep_until.as_micros());
        // Whoever abandons it between our two questions leaves nothing to be found.
        for _ in 0..3 {
            let new = self
                .pool
                .query(BEGIN, &[&tenant, &key, &digest, &now, &busy_until, &keep_until, &user])
                .await?;
            if let Some(row) = new.first() {
                return Ok(Begun::New(Ticket { tenant, key, attempt: row.get(0) }));
            }
            let found = self.pool.query(FIND, &[&tenant, &key, &digest]).await?;
            let Some(row) = found.first() else { continue };
            return Ok(match (row.get(0), row.get(1)) {
                (false, _) => Begun::Conflict,
                (true, true) => Begun::InProgress,
                (true, false) => match row.get::<_, Option<Vec<u8>>>(2) {
                    Some(answer) => Begun::Replay(answer.into()),
                    None => Begun::NotKept,
                },
            });
        }
        Ok(Begun::InProgress)
    }

    async fn finish(&self, ticket: &Ticket, answer: Bytes) -> Result<bool, Error> {
        let Ticket { tenant, key, attempt } = ticket;
        let kept = (answer.len() <= ANSWER_BYTES_MAX).then_some(answer.as_ref());
        let finished = self.pool.query(FINISH, &[tenant, key, attempt, &kept]).await?;
        Ok(!finished.is_empty())
    }

    async fn abandon(&self, ticket: &Ticket) -> Result<(), Error> {
        let Ticket { tenant, key, attempt } = ticket;
        self.pool.query(ABANDON, &[tenant, key, attempt]).await.map(drop)
    }

    async fn forget_expired(&self, now: Timestamp) -> Result<u64, Error> {
        self.pool.count(FORGET_EXPIRED, &[&now.as_micros()]).await
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        self.pool.count(FORGET_USER, &[&tenant, &user]).await
    }
}
