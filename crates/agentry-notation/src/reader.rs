//! Takes values out of a table and notes everything that is wrong, instead of stopping at the first.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::problem::{Place, Problem};
use crate::tree::{Entry, Node, Table, Value, position};
use crate::value::{self, Unreadable};

/// What reading needs beside the values themselves.
pub struct Notes<'a> {
    pub problems: RefCell<Vec<Problem>>,
    pub environment: &'a BTreeMap<String, String>,
    /// Relative paths are meant from here.
    pub folder: &'a Path,
}

impl Notes<'_> {
    pub fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }
}

/// A value and where it stands, for checks that need others to be read first.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    pub place: Place,
    pub value: T,
}

pub struct Reader<'a> {
    notes: &'a Notes<'a>,
    /// As in `models.fast`; empty at the root.
    name: String,
    /// Its last part, which may have dots of its own.
    key: String,
    place: Place,
    left: BTreeMap<String, Entry>,
    asked: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub fn root(table: Table, notes: &'a Notes<'a>) -> Self {
        let (name, key, place) = (String::new(), String::new(), Place::Nowhere);
        Self { notes, name, key, place, left: table.entries, asked: Vec::new() }
    }

    pub fn notes(&self) -> &'a Notes<'a> {
        self.notes
    }

    /// The table's own name: `fast` in `models.fast`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where the table's name stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn report(&self, message: impl Into<String>) {
        self.notes.report(Problem::new(self.place.clone(), message));
    }

    pub fn has(&self, key: &str) -> bool {
        self.left.contains_key(key)
    }

    pub fn is_list(&self, key: &str) -> bool {
        self.left.get(key).is_some_and(|entry| matches!(entry.node.value, Value::List(_)))
    }

    fn take(&mut self, key: &'static str) -> Option<Entry> {
        self.asked.push(key);
        self.left.remove(key)
    }

    /// The value of `key`, if it is there and `read` understands it.
    pub fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value) -> Result<T, Unreadable>,
    ) -> Option<At<T>> {
        let node = self.take(key)?.node;
        self.understand(key, &node, read)
    }

    pub fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Value) -> Result<T, Unreadable>,
    ) -> T {
        self.read(key, read).map_or(default, |at| at.value)
    }

    pub fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&Value) -> Result<T, Unreadable>,
    ) -> Option<At<T>> {
        if !self.left.contains_key(key) {
            self.asked.push(key);
            self.notes.report(
                Problem::new(self.place.clone(), format!("`{}` needs `{key}`", self.name))
                    .help(format!("add {key} = {example}")),
            );
            return None;
        }
        self.read(key, read)
    }

    fn understand<T>(
        &self,
        key: &str,
        node: &Node,
        read: impl FnOnce(&Value) -> Result<T, Unreadable>,
    ) -> Option<At<T>> {
        match read(&node.value) {
            Ok(value) => Some(At { place: node.place.clone(), value }),
            Err(Unreadable { message, help, secret }) => {
                let message = match (message, self.name.as_str()) {
                    (message, "") => format!("`{key}` {message}"),
                    (message, name) => format!("`{name}.{key}` {message}"),
                };
                let mut problem = Problem::new(node.place.clone(), message);
                if let Some(help) = help {
                    problem = problem.help(help);
                }
                self.notes.report(if secret { problem.hide() } else { problem });
                None
            }
        }
    }

    /// The items of a list, those that `read` understands.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&Value) -> Result<T, Unreadable>,
    ) -> Option<At<Vec<At<T>>>> {
        let node = self.take(key)?.node;
        let Value::List(items) = &node.value else {
            self.understand::<()>(key, &node, |value| Err(value::not("a list", value)));
            return None;
        };
        let items = items.iter().filter_map(|item| self.understand(key, item, &mut read));
        Some(At { value: items.collect(), place: node.place.clone() })
    }

    /// The items of a list whose tables are read by `read_table` and whose other values by `read`.
    pub fn list_or_tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&Value) -> Result<T, Unreadable>,
        mut read_table: impl FnMut(Self) -> Option<T>,
    ) -> Option<At<Vec<At<T>>>> {
        let Node { place, value } = self.take(key)?.node;
        let Value::List(items) = value else {
            let node = Node { place, value };
            self.understand::<()>(key, &node, |value| Err(value::not("a list", value)));
            return None;
        };
        let mut known = Vec::new();
        for (number, node) in items.into_iter().enumerate() {
            if let Value::Table(_) = node.value {
                let place = node.place.clone();
                let entry = Entry { key: place.clone(), node };
                let table = self.descend(&format!("{key}[{number}]"), entry);
                let value = table.and_then(&mut read_table);
                known.extend(value.map(|value| At { place, value }));
            } else {
                known.extend(self.understand(key, &node, &mut read));
            }
        }
        Some(At { place, value: known })
    }

    /// All values of a table whose keys are not known beforehand, those that `read` understands.
    pub fn all<T>(
        mut self,
        mut read: impl FnMut(&Value) -> Result<T, Unreadable>,
    ) -> Vec<(String, At<T>)> {
        let entries = std::mem::take(&mut self.left).into_iter();
        let read = entries.filter_map(|(key, entry)| {
            let value = self.understand(&key, &entry.node, &mut read)?;
            Some((key, value))
        });
        read.collect()
    }

    /// As [`all`](Self::all), where a value may also be a table, which `read_table` reads. Keys have their place too.
    pub fn all_or_tables<T>(
        mut self,
        mut read: impl FnMut(&Value) -> Result<T, Unreadable>,
        mut read_table: impl FnMut(Self) -> Option<T>,
    ) -> Vec<(At<String>, At<T>)> {
        let mut all = Vec::new();
        for (key, entry) in std::mem::take(&mut self.left) {
            let named = At { place: entry.key.clone(), value: key.clone() };
            let place = entry.node.place.clone();
            let value = match entry.node.value {
                Value::Table(_) => self.descend(&key, entry).and_then(&mut read_table),
                _ => self.understand(&key, &entry.node, &mut read).map(|at| at.value),
            };
            all.extend(value.map(|value| (named, At { place, value })));
        }
        all
    }

    /// `key` from `env:NAME` or `file:PATH`.
    pub fn secret(&mut self, key: &'static str) -> Option<At<SecretString>> {
        let notes = self.notes;
        self.read(key, |value| value::secret(value, notes.environment, notes.folder))
    }

    /// The same, where there may be a list of them.
    pub fn secrets(&mut self, key: &'static str) -> Option<At<Vec<SecretString>>> {
        if !self.is_list(key) {
            return self.secret(key).map(|At { value, place }| At { value: vec![value], place });
        }
        let notes = self.notes;
        let read = |value: &Value| value::secret(value, notes.environment, notes.folder);
        let At { value, place } = self.list(key, read)?;
        Some(At { value: value.into_iter().map(|secret| secret.value).collect(), place })
    }

    /// The table `key`; nothing when it is absent or something else.
    pub fn table(&mut self, key: &'static str) -> Option<Self> {
        let entry = self.take(key)?;
        self.descend(key, entry)
    }

    /// The tables of the list `key`, written as `[[key]]`.
    pub fn each(&mut self, key: &'static str) -> Vec<Self> {
        let Some(node) = self.take(key).map(|entry| entry.node) else { return Vec::new() };
        let Value::List(items) = node.value else {
            let expected = format!("a list of tables, each under [[{key}]]");
            self.understand::<()>(key, &node, |value| Err(value::not(&expected, value)));
            return Vec::new();
        };
        let entries = items.into_iter().map(|node| Entry { key: node.place.clone(), node });
        let tables = entries.enumerate();
        tables.filter_map(|(at, entry)| self.descend(&format!("{key}[{at}]"), entry)).collect()
    }

    /// All tables in this one, in the order of the file.
    pub fn tables(mut self) -> Vec<Self> {
        let mut entries: Vec<_> = std::mem::take(&mut self.left).into_iter().collect();
        entries.sort_by_key(|(_, entry)| position(&entry.key));
        entries.into_iter().filter_map(|(key, entry)| self.descend(&key, entry)).collect()
    }

    fn descend(&self, key: &str, entry: Entry) -> Option<Self> {
        let Entry { key: place, node } = entry;
        let name = match self.name.as_str() {
            "" => key.to_owned(),
            name => format!("{name}.{key}"),
        };
        match node.value {
            Value::Table(table) => {
                let (notes, key, left) = (self.notes, key.to_owned(), table.entries);
                Some(Self { notes, name, key, place, left, asked: Vec::new() })
            }
            value => {
                let node = Node { place: node.place, value };
                self.understand::<()>(key, &node, |value| Err(value::not("a table", value)));
                None
            }
        }
    }

    /// Says of `keys` that they exist, but not in this version.
    pub fn not_yet(&mut self, keys: &[&'static str], instead: &str) {
        for key in keys {
            if let Some(entry) = self.take(key) {
                let problem = Problem::new(
                    entry.key,
                    format!("`{key}` is not available yet in this version"),
                );
                self.notes.report(problem.help(instead));
            }
        }
    }

    /// Whatever was not asked for is a mistake.
    pub fn finish(self) {
        for (key, entry) in &self.left {
            let at =
                if self.name.is_empty() { String::new() } else { format!(" in `{}`", self.name) };
            let message = match entry.node.value {
                Value::Table(_) => format!("unknown table `{key}`{at}"),
                _ => format!("unknown key `{key}`{at}"),
            };
            let help = match nearest(key, &self.asked) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("there are {}", self.asked.join(", ")),
            };
            self.notes.report(Problem::new(entry.key.clone(), message).help(help));
        }
    }
}

/// The known word that was probably meant.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = known.iter().map(|known| (distance(word, known), *known)).min()?;
    (near.0 <= 1 + word.len() / 4).then_some(near.1)
}

/// How many letters must be changed, added or dropped.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.chars().enumerate() {
        let mut diagonal = at;
        let mut left = at + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, other) in row.iter_mut().skip(1).zip(&to) {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}
