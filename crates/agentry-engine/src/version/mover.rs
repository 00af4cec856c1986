//! A worker and the threads of versions that it does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentry_core::Clock;
use agentry_core::run::{Committed, Event};
use agentry_core::thread::{Loaded, Next, Pinned, Rest, RunChange, RunStatus, Status};
use agentry_core::threads::{Claimed, Error, ThreadQuery, ThreadStore, Threads};
use serde_json::json;
use tracing::{error, info};

use super::carry::{Carried, Past, carry};
use super::outlook::{elsewhere, moving};
use super::{Policy, stand};
use crate::Registry;
use crate::durable::Elsewhere;
use crate::lifeline::Lifeline;
use crate::machine::{Home, Machine, Record};
use crate::program::Program;

/// So many threads of each status are looked at.
const LOOKED_AT: usize = 1_000;

/// What threads wait for that is not here.
#[derive(Default)]
pub(crate) struct Orphans {
    /// Said once.
    told: BTreeSet<Pinned>,
    /// Those that may go on here nevertheless.
    pub movable: Vec<Pinned>,
}

/// Threads that wait for a version which this worker lacks would wait in silence.
pub(crate) async fn orphans(
    known: &mut Orphans,
    archive: &dyn Threads,
    (registry, elsewhere): (&Registry, &Elsewhere),
) -> Result<(), Error> {
    let found = absent(archive, registry, elsewhere).await?;
    known.movable.clear();
    for (pinned, threads) in found {
        let Pinned { graph, version } = &pinned;
        let current = registry.current(graph).ok();
        let policy = current.as_ref().map(Program::on_change);
        let first = known.told.insert(pinned.clone());
        let current = current.as_ref().map(Program::version);
        match policy {
            Some(Policy::Migrate) => {
                if first {
                    info!(
                        graph,
                        version,
                        current,
                        threads,
                        "threads of another version are moved as they go on"
                    );
                }
                known.movable.push(pinned);
            }
            Some(Policy::Pin | Policy::Refuse) if first => error!(
                graph,
                version,
                current,
                threads,
                "threads wait for a version of their graph that is not here, and the graph lets nobody move them: bring the version back, or run `agentry runs migrate`"
            ),
            None if first && !elsewhere.has(graph) => error!(
                graph,
                version, threads, "threads wait for a graph that is not here: bring it back"
            ),
            Some(Policy::Pin | Policy::Refuse) | None => {}
        }
    }
    Ok(())
}

/// How many threads there are of each program that is not in the registry.
async fn absent(
    archive: &dyn Threads,
    registry: &Registry,
    elsewhere: &Elsewhere,
) -> Result<BTreeMap<Pinned, usize>, Error> {
    let mut found: BTreeMap<Pinned, usize> = BTreeMap::new();
    // Nothing is to be said of any other graph.
    let graphs = match elsewhere {
        Elsewhere::None | Elsewhere::These(_) => vec![None],
        Elsewhere::Any => registry.graphs().into_iter().map(Some).collect(),
    };
    for graph in graphs {
        for status in [Status::Ready, Status::Waiting, Status::Interrupted] {
            let (graph, status) = (graph.clone(), Some(status));
            let query = ThreadQuery { graph, status, max: LOOKED_AT, ..ThreadQuery::default() };
            for thread in archive.threads(query).await? {
                let Some(pinned) = thread.program else { continue };
                if registry.get(&pinned.graph, &pinned.version).is_none() {
                    *found.entry(pinned).or_default() += 1;
                }
            }
        }
    }
    Ok(found)
}

type Ports<'a> = (&'a Arc<dyn ThreadStore>, &'a Arc<dyn Threads>, &'a Arc<dyn Clock>);

/// Moves a thread that was claimed to `program`; the claim goes on with it. `None` when it does not go on here.
pub(crate) async fn bring_over(
    claimed: Claimed,
    program: Program,
    (store, archive, clock): Ports<'_>,
    lifeline: &Lifeline,
) -> Option<Claimed> {
    let Claimed { fence, loaded } = claimed;
    let thread = loaded.thread.id;
    let pinned = loaded.thread.program.clone()?;
    let home = Home { thread, fence, head: loaded.thread.seq };
    let (moves, _) = lifeline.insist(|| stand::moves(archive.as_ref(), thread)).await?;
    let carried = if moves.first().is_some_and(|last| last.from == program.version()) {
        Err(vec![elsewhere(&pinned)])
    } else if loaded.line.entries.is_empty() && loaded.line.snapshot.is_none() {
        let machine = Machine::new(program.clone(), home, Record::Commits);
        Ok(Carried { machine, steps: Vec::new(), changes: Vec::new() })
    } else {
        let (line, version) = (&loaded.line, pinned.version.as_str());
        carry(&Past { line, at: None, version, program: None, home }, &program, clock.now())
    };
    let carried = match carried {
        Ok(carried) => carried,
        Err(why) => {
            let why = Unfit { program, home, why };
            return why.tell(&loaded, (store, clock), lifeline).await;
        }
    };
    let mut commit = moving(carried.machine, &program, clock.now());
    commit.next = Next::Running;
    let (committed, _) = lifeline.insist(|| store.commit(commit.clone())).await?;
    match committed {
        Committed::Applied { .. } | Committed::Duplicate => {}
        Committed::Fenced | Committed::Stale => return None,
    }
    let (loaded, _) = lifeline.insist(|| store.load(thread)).await?;
    Some(Claimed { fence, loaded: loaded? })
}

/// A thread that stays with a version that is not here.
struct Unfit {
    program: Program,
    home: Home,
    why: Vec<String>,
}

impl Unfit {
    /// Its runs fail. The thread stays as it is: it can be gone on with where the version is, or when there are migrations.
    async fn tell(
        self,
        loaded: &Loaded,
        (store, clock): (&Arc<dyn ThreadStore>, &Arc<dyn Clock>),
        lifeline: &Lifeline,
    ) -> Option<Claimed> {
        let Self { program, home, why } = self;
        let (version, why) = (program.version().to_owned(), why.join("; "));
        let why = format!("the thread cannot be moved to version {version} of its graph: {why}");
        error!(thread_id = %home.thread, why, "a thread stays with a version that is not here");
        let mut machine = Machine::new(program, home, Record::Commits);
        let last = loaded.line.entries.last().map(|entry| entry.seq);
        let snapshot = loaded.line.snapshot.as_ref().map(|snapshot| snapshot.seq);
        let stands = last.or(snapshot).unwrap_or_default();
        let unfinished: Vec<_> = loaded.runs.iter().filter(|run| !run.status.is_over()).collect();
        for (number, run) in unfinished.iter().enumerate() {
            let now = clock.now();
            let mut commit = machine.give_back(Vec::new(), now);
            let (status, reason) = (RunStatus::Error, Some(why.clone()));
            let detail = json!({ "run": run.id, "status": status, "reason": why });
            commit.events.push(Event { at: now, kind: "run.ended".to_owned(), detail });
            commit.runs.push(RunChange { run: run.id, status, base: None, reason });
            commit.entry.run = Some(run.id);
            commit.entry.parent = stands;
            commit.next = match number + 1 < unfinished.len() {
                true => Next::Running,
                false => Next::Rest { status: Rest::Failed, wake_at: None },
            };
            lifeline.insist(|| store.commit(commit.clone())).await?;
        }
        None
    }
}
