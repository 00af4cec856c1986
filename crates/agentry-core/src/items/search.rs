//! What a search for items gives.

use std::cmp::Ordering;

use super::words::Points;
use super::{Filter, Item, Namespace, Words};
use crate::listing::{Span, Window};

#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// Only what lies within it.
    pub prefix: Namespace,
    pub filter: Filter,
    /// Only what has some of the words, best first. Whoever ranks by meaning has the vector of a query in this place.
    pub query: Option<Words>,
    pub span: Span,
}

impl Search {
    /// Whether only the namespace and the time decide.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.filter.is_empty() && self.query.is_none()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    pub item: Item,
    /// How well it fits the query, from 0 to 1.
    pub score: Option<f64>,
}

type Ranked = (Option<Points>, Item);

/// Makes the answer to a [`Search`] from all live items of the namespace.
pub struct Hits<'a> {
    search: &'a Search,
    window: Window<Ranked, fn(&Ranked, &Ranked) -> Ordering>,
}

impl<'a> Hits<'a> {
    #[must_use]
    pub fn new(search: &'a Search) -> Self {
        Self { search, window: Window::new(search.span, rank) }
    }

    /// In any order.
    pub fn offer(&mut self, item: Item) {
        if !self.search.filter.matches(&item.value) {
            return;
        }
        let points = match &self.search.query {
            None => None,
            Some(words) => match words.points(&item) {
                Some(points) => Some(points),
                None => return,
            },
        };
        self.window.offer((points, item));
    }

    #[must_use]
    pub fn finish(self) -> Vec<Hit> {
        let query = self.search.query.as_ref();
        let hit = |(points, item): Ranked| {
            let score = query.zip(points).map(|(words, points)| words.share(points));
            Hit { item, score }
        };
        self.window.finish().into_iter().map(hit).collect()
    }
}

fn rank((left_points, left): &Ranked, (right_points, right): &Ranked) -> Ordering {
    let points = right_points.cmp(left_points);
    points.then(right.updated.cmp(&left.updated)).then_with(|| left.id.cmp(&right.id))
}
