//! Keeping the archive small: threads that were kept for long enough go, histories that nobody looks at are cut.

use agentry_core::ThreadId;
use agentry_core::thread::RunStatus;
use agentry_core::threads::{Keep, RunQuery};

use super::handle::Handle;
use crate::Error;

/// How many threads are removed in one go.
const SWEEP_MAX: usize = 500;

impl Handle {
    /// Removes threads that were kept for long enough; answers how many.
    pub async fn sweep(&self) -> Result<u64, Error> {
        let mut swept = 0;
        loop {
            let some = self.shared.archive.sweep(self.shared.clock.now(), SWEEP_MAX).await?;
            swept += some;
            if some < SWEEP_MAX as u64 {
                return Ok(swept);
            }
        }
    }

    /// Leaves nothing of a thread's history but where it stands; answers how many entries went. A thread that has something
    /// to do, or will have, is left alone: a run that begins later may begin at an older checkpoint.
    pub async fn compact(&self, thread: ThreadId) -> Result<u64, Error> {
        if self.has_run_to_come(thread).await? {
            return Ok(0);
        }
        if !self.snapshot_head(thread).await? {
            return Ok(0);
        }
        Ok(self.shared.archive.prune(thread, Keep::Latest).await?)
    }

    pub(super) async fn has_run_to_come(&self, thread: ThreadId) -> Result<bool, Error> {
        let (thread, status) = (Some(thread), Some(RunStatus::Pending));
        let to_come = RunQuery { thread, status, max: 1, ..RunQuery::default() };
        Ok(!self.shared.archive.runs(to_come).await?.is_empty())
    }
}
