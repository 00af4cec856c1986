//! Many records as columns, for one statement.

use agentry_core::ledger::{Entry, UsageRecord};
use tokio_postgres::types::ToSql;

#[derive(Default)]
pub(super) struct Batch<'a> {
    id: Vec<&'a [u8]>,
    at: Vec<i64>,
    call_id: Vec<&'a str>,
    tenant: Vec<&'a str>,
    key: Vec<&'a str>,
    user: Vec<Option<&'a str>>,
    team: Vec<Option<&'a str>>,
    session: Vec<Option<&'a str>>,
    run: Vec<Option<&'a str>>,
    model: Vec<&'a str>,
    target: Vec<Option<&'a str>>,
    status: Vec<&'a str>,
    input_tokens: Vec<i64>,
    cached_tokens: Vec<i64>,
    output_tokens: Vec<i64>,
    reasoning_tokens: Vec<i64>,
    cost: Vec<i64>,
    latency: Vec<i64>,
    first_token: Vec<Option<i64>>,
    cache: Vec<&'a str>,
    attempts: Vec<i64>,
    estimated: Vec<i64>,
    charges: Charges<'a>,
}

#[derive(Default)]
struct Charges<'a> {
    id: Vec<&'a [u8]>,
    account: Vec<&'a str>,
    period: Vec<String>,
    instance: Vec<&'a str>,
    life: Vec<&'a str>,
    amount: Vec<i64>,
}

impl<'a> Batch<'a> {
    pub(super) fn of(entries: &'a [Entry]) -> Self {
        let mut batch = Self::default();
        for Entry { record, charges } in entries {
            batch.push(record);
            for charge in charges {
                let to = &mut batch.charges;
                to.id.push(record.id.as_bytes());
                to.account.push(&charge.slice.account);
                to.period.push(charge.slice.period.to_string());
                to.instance.push(&charge.slice.holder.instance);
                to.life.push(&charge.slice.holder.life);
                to.amount.push(charge.amount.0);
            }
        }
        batch
    }

    fn push(&mut self, record: &'a UsageRecord) {
        self.id.push(record.id.as_bytes());
        self.at.push(record.at.as_micros());
        self.call_id.push(&record.call_id);
        self.tenant.push(&record.tenant);
        self.key.push(&record.key);
        self.user.push(record.user.as_deref());
        self.team.push(record.team.as_deref());
        self.session.push(record.session.as_deref());
        self.run.push(record.run.as_deref());
        self.model.push(&record.model);
        self.target.push(record.target.as_deref());
        self.status.push(&record.status);
        self.input_tokens.push(signed(record.tokens.input));
        self.cached_tokens.push(signed(record.tokens.cached));
        self.output_tokens.push(signed(record.tokens.output));
        self.reasoning_tokens.push(signed(record.tokens.reasoning));
        self.cost.push(record.cost.0);
        self.latency.push(signed(record.latency.as_micros()));
        self.first_token.push(record.first_token.map(|it| signed(it.as_micros())));
        self.cache.push(record.cache.as_str());
        self.attempts.push(i64::from(record.attempts));
        self.estimated.push(record.estimated.0);
    }

    /// In the order of the statement's parameters.
    pub(super) fn values(&self) -> [&(dyn ToSql + Sync); 28] {
        let Charges { id, account, period, instance, life, amount } = &self.charges;
        [
            &self.id,
            &self.at,
            &self.call_id,
            &self.tenant,
            &self.key,
            &self.user,
            &self.team,
            &self.session,
            &self.run,
            &self.model,
            &self.target,
            &self.status,
            &self.input_tokens,
            &self.cached_tokens,
            &self.output_tokens,
            &self.reasoning_tokens,
            &self.cost,
            &self.latency,
            &self.first_token,
            &self.cache,
            &self.attempts,
            &self.estimated,
            id,
            account,
            period,
            instance,
            life,
            amount,
        ]
    }
}

fn signed(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
