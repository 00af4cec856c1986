//! Threads that outlive the process: a worker claims them from a store, commits each decision and performs it; a handle
//! gives it work and looks at what became of it.

pub mod handle;
pub mod inspect;
pub mod order;
pub mod worker;

mod drive;
mod hub;
mod keep;
mod keeper;
mod upkeep;
mod wait;

pub use handle::Handle;
pub use hub::Heard;
pub use inspect::Updated;
pub use order::{Order, Wish};
pub use upkeep::Retention;
pub use wait::Follower;
pub use worker::{Settings, Worker};

use agentry_core::thread::Pinned;

use crate::{Program, Registry};

impl Program {
    #[must_use]
    pub fn pinned(&self) -> Pinned {
        Pinned { graph: self.graph().name.clone(), version: self.version().to_owned() }
    }
}

impl Registry {
    /// Everything that there is, old versions included.
    #[must_use]
    pub fn pinned(&self) -> Vec<Pinned> {
        let pinned = |(graph, version)| Pinned { graph, version };
        self.pairs().into_iter().map(pinned).collect()
    }
}
