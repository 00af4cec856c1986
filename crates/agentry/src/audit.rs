//! Walks the audit log, of a running instance or in its file, and checks the chain.

use agentry_core::audit::{Digest, Record, Verifier};
use agentry_core::keys::KeyStore;
use agentry_core::store::Log;
use anyhow::Context as _;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::operate::Of;

const PAGE: usize = 1_000;

/// Where the log is read.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Instance(&'a Agent, Of),
    Keys(&'a dyn KeyStore),
    File(&'a dyn Log),
}

impl Source<'_> {
    async fn page(self, after: u64) -> anyhow::Result<Vec<Record>> {
        match self {
            Self::File(log) => log.audit(after, PAGE).await.context("read the audit log"),
            Self::Keys(keys) => keys.key_audit(after, PAGE).await.context("read the audit log"),
            Self::Instance(agent, of) => agent
                .list(&match of {
                    Of::Runs => format!("/v1/audit?after={after}&limit={PAGE}"),
                    Of::Keys => format!("/v1/audit?after={after}&limit={PAGE}&of=keys"),
                })
                .await?
                .into_iter()
                .map(|record| Record::deserialize(record).context("read an audit record"))
                .collect(),
        }
    }

    pub(crate) async fn each(self, mut each: impl FnMut(&Record)) -> anyhow::Result<()> {
        let mut after = 0;
        loop {
            let page = self.page(after).await?;
            if page.is_empty() {
                return Ok(());
            }
            for record in page {
                after = after.max(record.number);
                each(&record);
            }
        }
    }

    /// Reads the whole log; `head` is a digest that must still be in it.
    pub(crate) async fn verify(self, head: Option<Digest>) -> anyhow::Result<Audited> {
        let mut verifier = Verifier::default();
        let mut broken = None;
        let mut seen = head.is_none();
        self.each(|record| {
            if broken.is_none() {
                broken = verifier.check(record).err().map(|broken| broken.to_string());
            }
            seen |= head == Some(record.digest);
        })
        .await?;
        let (records, last) = verifier.head();
        if broken.is_none() && !seen {
            broken = Some(
                "the head that was noted down is not in it: its end was cut off or rewritten"
                    .into(),
            );
        }
        Ok(Audited { records, head: last, broken })
    }
}

/// What a walk along the audit log has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Audited {
    pub(crate) records: u64,
    pub(crate) head: Digest,
    pub(crate) broken: Option<String>,
}

impl Audited {
    pub(crate) fn json(&self) -> Value {
        json!({
            "verified": self.broken.is_none(),
            "records": self.records,
            "head": self.head,
            "broken": self.broken,
        })
    }
}
