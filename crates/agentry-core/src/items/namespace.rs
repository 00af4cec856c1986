//! Where items are: a path of labels.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use super::Invalid;
use crate::listing::Span;

pub const LABELS_MAX: usize = 32;
pub const LABEL_BYTES_MAX: usize = 256;
/// Of all labels, and one for each.
pub const NAMESPACE_BYTES_MAX: usize = 1_024;

/// It is no character, and comes after all others.
const LAST: char = '\u{10FFFF}';

/// Labels, outermost first; the root has none. It is written with a dot behind each label, so that a namespace lies within
/// another one exactly when its text begins with the other's.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(String);

impl Namespace {
    pub fn new<L: AsRef<str>>(labels: impl IntoIterator<Item = L>) -> Result<Self, Invalid> {
        let mut text = String::new();
        for (number, label) in labels.into_iter().enumerate() {
            let label = label.as_ref();
            if number == LABELS_MAX {
                return Err(Invalid(format!("a namespace has at most {LABELS_MAX} labels")));
            }
            if label.is_empty() || label.len() > LABEL_BYTES_MAX {
                return Err(Invalid(format!(
                    "label {} of the namespace is empty or longer than {LABEL_BYTES_MAX} bytes",
                    number + 1
                )));
            }
            if let Some(wrong) = label.chars().find(|c| matches!(*c, '.' | LAST) || c.is_control())
            {
                return Err(Invalid(format!(
                    "label {} of the namespace has {wrong:?} in it; leave out dots and control characters",
                    number + 1
                )));
            }
            text.push_str(label);
            text.push('.');
        }
        if text.len() > NAMESPACE_BYTES_MAX {
            return Err(Invalid(format!(
                "the namespace is longer than {NAMESPACE_BYTES_MAX} bytes"
            )));
        }
        Ok(Self(text))
    }

    /// What [`Namespace::as_str`] has written.
    pub fn read(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let labels = text.strip_suffix('.');
        let labels = labels.ok_or_else(|| Invalid(format!("`{text}` is no namespace")))?;
        Self::new(labels.split('.'))
    }

    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split_terminator('.')
    }

    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `other` is this one or lies within it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// A text behind those of all namespaces that this one contains, and before those of all others that come after it.
    #[must_use]
    pub fn end(&self) -> String {
        // What comes after a dot is a slash.
        self.0.strip_suffix('.').map_or_else(|| LAST.to_string(), |labels| format!("{labels}/"))
    }

    fn cut(&self, depth: NonZeroUsize) -> Self {
        Self(self.0.split_inclusive('.').take(depth.get()).collect())
    }
}

/// Which namespaces are wanted. A `*` stands for any one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespaces {
    pub prefix: Namespace,
    pub suffix: Namespace,
    /// What lies deeper is named by its first labels.
    pub depth_max: Option<NonZeroUsize>,
    pub span: Span,
}

impl Namespaces {
    /// A namespace that contains all those that can match.
    #[must_use]
    pub fn within(&self) -> Namespace {
        let text = self.prefix.labels().take_while(|label| *label != "*");
        Namespace(text.flat_map(|label| [label, "."]).collect())
    }

    #[must_use]
    pub fn matches(&self, namespace: &Namespace) -> bool {
        fn begin<'a>(
            mut labels: impl Iterator<Item = &'a str>,
            mut wanted: impl Iterator<Item = &'a str>,
        ) -> bool {
            wanted.all(|wanted| labels.next().is_some_and(|label| wanted == "*" || wanted == label))
        }
        begin(namespace.labels(), self.prefix.labels())
            && begin(namespace.labels().rev(), self.suffix.labels().rev())
    }
}

/// Makes the list of [`Namespaces`] from all that there are.
pub struct Outline<'a> {
    wanted: &'a Namespaces,
    last: Option<Namespace>,
    skipped: usize,
    found: Vec<Namespace>,
}

impl<'a> Outline<'a> {
    #[must_use]
    pub fn new(wanted: &'a Namespaces) -> Self {
        Self { wanted, last: None, skipped: 0, found: Vec::new() }
    }

    /// They come in their order, and the same one may come again. Breaks off when nothing more is needed.
    pub fn offer(&mut self, namespace: &Namespace) -> ControlFlow<()> {
        let Namespaces { depth_max, span, .. } = self.wanted;
        if self.found.len() == span.limit() {
            return ControlFlow::Break(());
        }
        if !self.wanted.matches(namespace) {
            return ControlFlow::Continue(());
        }
        let shown = depth_max.map_or_else(|| namespace.clone(), |depth| namespace.cut(depth));
        if self.last.as_ref() == Some(&shown) {
            return ControlFlow::Continue(());
        }
        self.last = Some(shown.clone());
        if self.skipped < span.offset() {
            self.skipped += 1;
        } else {
            self.found.push(shown);
        }
        ControlFlow::Continue(())
    }

    #[must_use]
    pub fn finish(self) -> Vec<Namespace> {
        self.found
    }
}
