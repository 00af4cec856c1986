//! Decides what a thread is in another version of its graph. Nothing is stored, and nobody waits.

use std::collections::BTreeSet;

use agentry_core::run::Values;
use agentry_core::thread::{Line, ROOT};
use agentry_core::{CheckpointId, Timestamp};

use super::outlook::Change;
use super::{Moving, fit, image, schema_of, shape};
use crate::machine::{Home, LoadError, Machine, Record};
use crate::program::Program;

/// Where a thread stands, and which version it is of.
pub(super) struct Past<'a> {
    pub line: &'a Line,
    /// The checkpoint of the line's last entry that is meant, when it is not its end.
    pub at: Option<CheckpointId>,
    pub version: &'a str,
    /// That version, where it is here.
    pub program: Option<&'a Program>,
    pub home: Home,
}

/// The thread in the new version; not stored yet.
pub(super) struct Carried {
    pub machine: Machine,
    /// Names of the migrations that it took.
    pub steps: Vec<String>,
    pub changes: Vec<Change>,
}

/// Or why it cannot be moved.
pub(super) fn carry(
    past: &Past<'_>,
    program: &Program,
    now: Timestamp,
) -> Result<Carried, Vec<String>> {
    let one = |why: LoadError| vec![why.to_string()];
    let old = past.load()?;
    let mut snapshot = old.snapshot();
    let before = snapshot.states.get(ROOT).cloned().unwrap_or_default();
    let (after, steps) = migrate(past.version, program, before.clone())?;
    image::rename(&mut snapshot.body, &after.nodes);
    image::forget(&mut snapshot.body, |name| program.plan().find(name).is_some());
    let changes = changes(&before, &after.values);
    snapshot.states.insert(ROOT.to_owned(), after.values);
    let homeless = fit::homeless(&snapshot.body, program);
    if !homeless.is_empty() {
        return Err(homeless);
    }
    let machine = Machine::bring(program, &old, (past.version, snapshot), now).map_err(one)?;
    let unfit = fit::unfit(&machine);
    if unfit.is_empty() { Ok(Carried { machine, steps, changes }) } else { Err(unfit) }
}

impl Past<'_> {
    fn load(&self) -> Result<Machine, Vec<String>> {
        let one = |why: LoadError| vec![why.to_string()];
        if let Some(program) = self.program {
            return self.load_as(program, self.line).map_err(one);
        }
        if shape::has_inner(self.line) {
            return Err(vec![format!(
                "it stands inside of a graph in one of its nodes, and version {} is not here, without which that cannot be read: keep the old version beside the new one until the thread is through",
                self.version
            )]);
        }
        let (shape, outer) = shape::of(self.line, "").map_err(one)?;
        self.load_as(&shape, &outer).map_err(one)
    }

    fn load_as(&self, program: &Program, line: &Line) -> Result<Machine, LoadError> {
        match self.at {
            Some(checkpoint) => Machine::load_at(program.clone(), self.home, line, checkpoint),
            None => Machine::load(program.clone(), self.home, Record::Commits, line),
        }
    }
}

fn migrate(
    from: &str,
    program: &Program,
    values: Values,
) -> Result<(Moving, Vec<String>), Vec<String>> {
    let migrations = &program.evolution().migrations;
    let (schema, known) = (schema_of(from), migrations.len() + 1);
    if schema > known {
        return Err(vec![format!(
            "its state is of schema {schema}, and this version of the graph knows schema {known}: a newer one is needed"
        )]);
    }
    let mut moving = Moving::new(values);
    let mut steps = Vec::new();
    for migration in migrations.iter().skip(schema - 1) {
        (migration.run)(&mut moving)
            .map_err(|why| vec![format!("the migration `{}` fails: {why}", migration.name)])?;
        steps.push(migration.name.clone());
    }
    Ok((moving, steps))
}

fn changes(before: &Values, after: &Values) -> Vec<Change> {
    let keys: BTreeSet<_> = before.iter().chain(after.iter()).map(|(key, _)| key).collect();
    let change = |key: &String| match (before.get(key), after.get(key)) {
        (None, Some(_)) => Some(Change::Added(key.clone())),
        (Some(_), None) => Some(Change::Removed(key.clone())),
        (Some(old), Some(new)) if old != new => Some(Change::Changed(key.clone())),
        (Some(_), Some(_)) | (None, None) => None,
    };
    keys.into_iter().filter_map(change).collect()
}
