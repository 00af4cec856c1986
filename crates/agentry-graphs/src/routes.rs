//! Where a graph goes on after a node.

use std::collections::{BTreeMap, BTreeSet};

use agentry_engine::END;
use serde_json::Value;

use crate::definition::{Definition, OnError, Spot, When};
use crate::expression::Expression;
use crate::view::{ERRORS, View};

#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub(crate) ways: BTreeMap<String, Way>,
    /// Who must have finished, and what runs then.
    pub(crate) joins: Vec<(Vec<String>, Vec<String>)>,
}

/// The edges that leave one node, but for joins.
#[derive(Debug, Default, Clone)]
pub(crate) struct Way {
    always: Vec<String>,
    when: Vec<(Spot<Expression>, Vec<String>)>,
    otherwise: Vec<String>,
    on_error: Option<String>,
}

impl Routes {
    pub(crate) fn of(definition: &Definition) -> Self {
        let mut routes = Self::default();
        for (name, node) in &definition.nodes {
            let mut way = Way::default();
            if let OnError::Goto(to) = &node.policy.on_error {
                way.on_error = Some(to.value.clone());
            }
            routes.ways.insert(name.clone(), way);
        }
        for edge in &definition.edges {
            let to: Vec<String> = edge.to.iter().map(|to| to.value.clone()).collect();
            let [from] = edge.from.as_slice() else {
                let from = edge.from.iter().map(|from| from.value.clone()).collect();
                routes.joins.push((from, to));
                continue;
            };
            let Some(way) = routes.ways.get_mut(&from.value) else { continue };
            match &edge.when {
                When::Always => way.always.extend(to),
                When::Holds(condition) => way.when.push((condition.clone(), to)),
                When::Otherwise => way.otherwise.extend(to),
            }
        }
        routes
    }

    /// What follows, joins aside.
    pub(crate) fn after(&self, node: &str, view: &View<'_>) -> Result<Vec<String>, String> {
        self.ways.get(node).map_or(Ok(Vec::new()), |way| way.follow(node, view))
    }
}

impl Way {
    /// Whether nothing has to be decided.
    pub(crate) fn is_plain(&self) -> bool {
        self.when.is_empty() && self.on_error.is_none()
    }

    /// Every node that may follow.
    pub(crate) fn targets(&self) -> BTreeSet<&str> {
        let when = self.when.iter().flat_map(|(_, to)| to);
        let all = self.always.iter().chain(when).chain(&self.otherwise).chain(&self.on_error);
        all.map(String::as_str).collect()
    }

    pub(crate) fn follow(&self, node: &str, view: &View<'_>) -> Result<Vec<String>, String> {
        if let Some(to) = &self.on_error
            && has_failed(node, view)
        {
            return Ok(vec![to.clone()]);
        }
        let mut next = self.always.clone();
        for (condition, to) in &self.when {
            if condition.value.holds(|name| view.typed(name))? {
                next.extend(to.iter().cloned());
                return Ok(next);
            }
        }
        next.extend(self.otherwise.iter().cloned());
        if next.is_empty() {
            next.push(END.to_owned());
        }
        Ok(next)
    }

    /// As a person would put it.
    pub(crate) fn shown(&self) -> String {
        let when = self.when.iter().map(|(when, to)| {
            format!(
                "{} → {}",
                when.text.split_whitespace().collect::<Vec<_>>().join(" "),
                to.join(", ")
            )
        });
        let otherwise = (!self.otherwise.is_empty())
            .then(|| format!("otherwise → {}", self.otherwise.join(", ")));
        let on_error = self.on_error.as_ref().map(|to| format!("failed → {to}"));
        when.chain(otherwise).chain(on_error).collect::<Vec<_>>().join("; ")
    }
}

/// Whether the node's last visit came to nothing.
fn has_failed(node: &str, view: &View<'_>) -> bool {
    let errors = view.values.get(ERRORS);
    errors.and_then(|errors| errors.get(node)).is_some_and(|error| *error != Value::Null)
}
