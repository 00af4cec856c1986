//! Records of topics and the audit log: what every command may add to.

use agentry_core::audit;
use agentry_core::store::{Error, NewRecord, Record};

#[derive(Default)]
pub(super) struct Chronicle {
    records: Vec<Record>,
    audit: Vec<audit::Record>,
}

impl Chronicle {
    /// What `entries` would be as the next links of the chain.
    pub(super) fn link(&self, entries: &[audit::Entry]) -> Result<Vec<audit::Record>, Error> {
        let (mut number, mut digest) =
            self.audit.last().map_or_else(Default::default, |last| (last.number, last.digest));
        let mut links = Vec::new();
        for entry in entries {
            let record = audit::Record::link(number, digest, entry)
                .map_err(|problem| Error::Refused(format!("audit entry: {problem}")))?;
            (number, digest) = (record.number, record.digest);
            links.push(record);
        }
        Ok(links)
    }

    /// `links` must come from [`link`](Self::link), with nothing added since.
    pub(super) fn extend(&mut self, links: Vec<audit::Record>) {
        self.audit.extend(links);
    }

    pub(super) fn note(&mut self, entries: &[audit::Entry]) -> Result<(), Error> {
        let links = self.link(entries)?;
        self.extend(links);
        Ok(())
    }

    pub(super) fn record(&mut self, new: NewRecord) {
        let NewRecord { topic, key, payload } = new;
        let offset = self.records.len() as u64 + 1;
        self.records.push(Record { offset, topic, key, payload });
    }

    pub(super) fn records<'a>(
        &'a self,
        topic: &'a str,
    ) -> impl DoubleEndedIterator<Item = &'a Record> {
        self.records.iter().filter(move |record| record.topic == topic)
    }

    pub(super) fn audit(&self) -> &[audit::Record] {
        &self.audit
    }
}
