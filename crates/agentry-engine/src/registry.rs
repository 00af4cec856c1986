//! The programs that a worker has.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::{Error, Program};

/// The programs that a worker has, old versions included. What is added to one clone, all of them have.
#[derive(Clone, Default)]
pub struct Registry {
    all: Arc<RwLock<All>>,
}

#[derive(Default)]
struct All {
    programs: BTreeMap<(String, String), Program>,
    current: BTreeMap<String, Program>,
}

impl Registry {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a program; of several versions of one graph the last one added takes new runs.
    #[must_use]
    pub fn with(self, program: Program) -> Self {
        self.add([program]);
        self
    }

    /// As [`with`](Self::with) each of them, and all at once, also while a worker works with them: threads go on with the
    /// version that they are on.
    pub fn add(&self, programs: impl IntoIterator<Item = Program>) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        for program in programs {
            let name = program.graph().name.clone();
            all.programs.insert((name.clone(), program.version().to_owned()), program.clone());
            all.current.insert(name, program);
        }
    }

    /// The version that takes new runs.
    pub fn current(&self, graph: &str) -> Result<Program, Error> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let current = all.current.get(graph).cloned();
        current.ok_or_else(|| Error::UnknownGraph(graph.to_owned()))
    }

    #[must_use]
    pub fn get(&self, graph: &str, version: &str) -> Option<Program> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.programs.get(&(graph.to_owned(), version.to_owned())).cloned()
    }

    /// Their names.
    pub(crate) fn graphs(&self) -> Vec<String> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.current.keys().cloned().collect()
    }

    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.programs.keys().cloned().collect()
    }

    /// Grows with every version that is added.
    pub(crate) fn versions(&self) -> usize {
        self.all.read().unwrap_or_else(PoisonError::into_inner).programs.len()
    }
}
