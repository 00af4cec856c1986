//! Answers are held to what was asked for before anything becomes of them.

use agentry_core::ThreadId;
use agentry_core::thread::NewRun;
use agentry_core::threads::Signal;
use serde_json::Value;

use super::handle::Handle;
use crate::Error;

/// More questions than this are not open on one thread.
const QUESTIONS_MAX: usize = 10_000;

impl Handle {
    pub(super) async fn hold_signal(&self, to: ThreadId, signal: &Signal) -> Result<(), Error> {
        match signal {
            Signal::Answer { interrupt, answer, .. } => {
                self.hold(to, &[(interrupt.as_str(), &answer.value)]).await
            }
            Signal::Message(_) | Signal::Cancel { .. } => Ok(()),
        }
    }

    pub(super) async fn hold_run(&self, run: &NewRun) -> Result<(), Error> {
        let given = run.answers.iter().map(|(id, answer)| (id.as_str(), &answer.value));
        self.hold(run.thread, &given.collect::<Vec<_>>()).await
    }

    /// What a question asks for never changes, so what fits now fits when it is stored. Whether it may be answered at all is
    /// for the store to say.
    async fn hold(&self, to: ThreadId, given: &[(&str, &Value)]) -> Result<(), Error> {
        if given.is_empty() {
            return Ok(());
        }
        let open = self.shared.archive.questions(Some(to), QUESTIONS_MAX).await?;
        for (id, value) in given {
            let asked = open.iter().find(|open| open.id == *id);
            let complaints = asked.map(|open| open.complaints(value)).unwrap_or_default();
            if !complaints.is_empty() {
                return Err(Error::Unfit { interrupt: (*id).to_owned(), complaints });
            }
        }
        Ok(())
    }
}
