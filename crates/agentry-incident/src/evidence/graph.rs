//! Who calls whom, as spans and client metrics show it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Observed, signals};

#[derive(Debug, Default)]
pub(crate) struct Graph<'a> {
    callees: BTreeMap<&'a str, BTreeSet<&'a str>>,
    callers: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// They only call and are never called: load from outside, not part of the system.
    outside: BTreeSet<&'a str>,
}

impl<'a> Graph<'a> {
    pub(crate) fn of(observed: &'a Observed, hops: &[(&'a str, &'a str)]) -> Self {
        let services = observed.services();
        let mut graph = Self::default();
        for (caller, callee) in hops {
            graph.add(caller, callee);
        }
        for series in &observed.metrics.items {
            if let Some(peer) = signals::peer_of(series, &services) {
                graph.add(&series.service, peer);
            }
        }
        let serving: BTreeSet<&str> = observed
            .spans
            .items
            .iter()
            .filter(|span| span.kind != agentry_core::telemetry::SpanKind::Client)
            .map(|span| span.service.as_str())
            .collect();
        let seen = observed.spans.items.iter().map(|span| span.service.as_str());
        graph.outside = seen
            .filter(|service| !serving.is_empty() && !serving.contains(service))
            .filter(|service| !graph.callers.contains_key(service))
            .collect();
        graph
    }

    fn add(&mut self, caller: &'a str, callee: &'a str) {
        if caller != callee && !caller.is_empty() && !callee.is_empty() {
            self.callees.entry(caller).or_default().insert(callee);
            self.callers.entry(callee).or_default().insert(caller);
        }
    }

    pub(crate) fn callees(&self, service: &str) -> impl Iterator<Item = &'a str> + '_ {
        self.callees.get(service).into_iter().flatten().copied()
    }

    pub(crate) fn calls(&self, caller: &str, callee: &str) -> bool {
        self.callees.get(caller).is_some_and(|callees| callees.contains(callee))
    }

    pub(crate) fn is_outside(&self, service: &str) -> bool {
        self.outside.contains(service)
    }

    /// How many hops it takes from `service` to `other` along calls in either direction.
    pub(crate) fn distance(&self, service: &str, other: &str) -> Option<usize> {
        let mut seen: BTreeSet<&str> = BTreeSet::from([service]);
        let mut edge = vec![service];
        for hops in 0..8 {
            if edge.contains(&other) {
                return Some(hops);
            }
            let next: BTreeSet<&str> = edge
                .iter()
                .flat_map(|at| {
                    self.callees.get(at).into_iter().chain(self.callers.get(at)).flatten().copied()
                })
                .filter(|at| !seen.contains(at))
                .collect();
            seen.extend(next.iter().copied());
            edge = next.into_iter().collect();
        }
        None
    }

    /// Does a chain of calls lead from `caller` to `callee`?
    pub(crate) fn reaches(&self, caller: &str, callee: &str) -> bool {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&str> = self.callees(caller).collect();
        while let Some(at) = open.pop() {
            if at == callee {
                return true;
            }
            if seen.insert(at) {
                open.extend(self.callees(at));
            }
        }
        false
    }
}
