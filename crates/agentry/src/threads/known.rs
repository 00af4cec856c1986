//! The graphs that there are, for whoever asks. They may change while somebody does.

use std::sync::{Arc, PoisonError, RwLock};

use agentry_engine::Program;
use agentry_graphs::Graphs;
use agentry_server::engine::GraphInfo;

use super::drawing;

/// Clones are the same.
#[derive(Clone)]
pub(crate) struct Known(Arc<RwLock<Arc<Now>>>);

/// The graphs as they are at one moment.
pub(crate) struct Now {
    pub(crate) infos: Vec<Arc<GraphInfo>>,
    /// Of those graphs that are data.
    pub(crate) definitions: Graphs,
}

impl Known {
    pub(super) fn new(programs: &[Program], definitions: Graphs) -> Self {
        let infos = programs.iter().map(|program| drawing::info(program, &definitions)).collect();
        Self(Arc::new(RwLock::new(Arc::new(Now { infos, definitions }))))
    }

    pub(crate) fn now(&self) -> Arc<Now> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// All at once; graphs that are no data stay unless one of these has their name.
    pub(crate) fn replace(&self, programs: &[Program], definitions: Graphs) {
        let before = self.now();
        let stays = |info: &&Arc<GraphInfo>| {
            let has_name = |program: &Program| program.graph().name == info.name;
            before.definitions.get(&info.name).is_none() && !programs.iter().any(has_name)
        };
        let infos = before.infos.iter().filter(stays).cloned();
        let new = programs.iter().map(|program| drawing::info(program, &definitions));
        let infos = infos.chain(new).collect();
        let now = Arc::new(Now { infos, definitions });
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = now;
    }
}
