//! Log templates: a fixed-depth tree that learns which words of a message vary, after masking what varies by its form.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

mod mask;

pub use mask::mask;

/// What stands where messages differ.
pub const WILDCARD: &str = "<*>";
/// Two messages of equal length are the same template when this part of their words agrees.
const SIMILARITY_MIN: f64 = 0.3;
/// How many leading words lead to a leaf.
const PREFIX: usize = 3;
/// Words beyond this say nothing new, and a line without end must not cost without end.
const WORDS_MAX: usize = 96;
const CLUSTERS_MAX: usize = 4_096;
const KNOWN_MAX: usize = 65_536;

/// Names one template of one [`Miner`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateId(u32);

#[derive(Debug, Default)]
pub struct Miner {
    clusters: Vec<Cluster>,
    leaves: HashMap<u64, Vec<TemplateId>>,
    /// Masked messages that were seen before go straight to their template.
    known: HashMap<Box<str>, TemplateId>,
    buffer: String,
}

#[derive(Debug)]
struct Cluster {
    words: Vec<Box<str>>,
    lines: u64,
}

impl Miner {
    /// The template of this message, learned if it is new.
    pub fn learn(&mut self, message: &str) -> TemplateId {
        let mut masked = std::mem::take(&mut self.buffer);
        masked.clear();
        mask(message, &mut masked);
        let id = match self.known.get(masked.as_str()) {
            Some(id) => *id,
            None => {
                let id = self.place(&masked);
                if self.known.len() < KNOWN_MAX {
                    self.known.insert(masked.as_str().into(), id);
                }
                id
            }
        };
        if let Some(cluster) = self.clusters.get_mut(id.0 as usize) {
            cluster.lines += 1;
        }
        self.buffer = masked;
        id
    }

    #[must_use]
    pub fn text(&self, id: TemplateId) -> String {
        self.clusters.get(id.0 as usize).map(|cluster| cluster.words.join(" ")).unwrap_or_default()
    }

    /// All templates with how many lines each has.
    pub fn templates(&self) -> impl Iterator<Item = (TemplateId, String, u64)> + '_ {
        (0..)
            .map(TemplateId)
            .zip(&self.clusters)
            .map(|(id, cluster)| (id, cluster.words.join(" "), cluster.lines))
    }

    fn place(&mut self, masked: &str) -> TemplateId {
        let words: Vec<&str> = masked.split_whitespace().take(WORDS_MAX).collect();
        let leaf = self.leaves.entry(leaf_key(&words)).or_default();
        let best = leaf
            .iter()
            .filter_map(|id| Some((*id, self.clusters.get(id.0 as usize)?.likeness(&words))))
            .max_by(|(_, a), (_, b)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        // A full miner keeps answering: the nearest template of the leaf, however far.
        let full = self.clusters.len() >= CLUSTERS_MAX;
        if let Some((id, (likeness, _))) = best
            && (likeness >= SIMILARITY_MIN || full)
        {
            if let Some(cluster) = self.clusters.get_mut(id.0 as usize) {
                cluster.absorb(&words);
            }
            return id;
        }
        if full {
            return self.overflow();
        }
        let id = TemplateId(self.clusters.len() as u32);
        leaf.push(id);
        self.clusters
            .push(Cluster { words: words.into_iter().map(Into::into).collect(), lines: 0 });
        id
    }

    /// The one template for everything that no longer fits.
    fn overflow(&mut self) -> TemplateId {
        if self.clusters.len() == CLUSTERS_MAX {
            self.clusters.push(Cluster { words: vec![WILDCARD.into()], lines: 0 });
        }
        TemplateId(CLUSTERS_MAX as u32)
    }
}

impl Cluster {
    /// The part of equal words; among equals, the template that is already more general.
    fn likeness(&self, words: &[&str]) -> (f64, usize) {
        if words.is_empty() {
            return (1.0, 0);
        }
        let equal = self.words.iter().zip(words).filter(|(mine, word)| &***mine == **word).count();
        let wild = self.words.iter().filter(|mine| &***mine == WILDCARD).count();
        (equal as f64 / words.len() as f64, wild)
    }

    fn absorb(&mut self, words: &[&str]) {
        for (mine, word) in self.words.iter_mut().zip(words) {
            if &**mine != *word && &**mine != WILDCARD {
                *mine = WILDCARD.into();
            }
        }
    }
}

fn leaf_key(words: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    words.len().hash(&mut hasher);
    for word in words.iter().take(PREFIX) {
        let varies = word.bytes().any(|byte| byte.is_ascii_digit());
        if varies { WILDCARD } else { *word }.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
