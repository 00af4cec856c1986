//! YAML as far as a proxy's configuration uses it, and a reader that remembers what nobody asked for.

use saphyr::{LoadableYamlNode as _, Scalar, Yaml};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Nothing,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

/// A mapping from which values are taken; what is left has no counterpart.
#[derive(Debug)]
pub(super) struct Table {
    /// As a person finds it: `model_list[0].litellm_params`.
    path: String,
    left: Vec<(String, Node)>,
}

/// The first document, which must be a mapping.
pub(super) fn parse(text: &str) -> Result<Table, String> {
    let documents = Yaml::load_from_str(text).map_err(|error| format!("is no YAML: {error}"))?;
    let Some(first) = documents.first() else { return Err("is empty".to_owned()) };
    match convert(first)? {
        Node::Map(left) => Ok(Table { path: String::new(), left }),
        _ => Err("is no mapping: it should begin with `model_list:`".to_owned()),
    }
}

fn convert(yaml: &Yaml<'_>) -> Result<Node, String> {
    Ok(match yaml {
        Yaml::Value(scalar) => match scalar {
            Scalar::Null => Node::Nothing,
            Scalar::Boolean(flag) => Node::Bool(*flag),
            Scalar::Integer(number) => Node::Number(*number as f64),
            Scalar::FloatingPoint(number) => Node::Number(number.into_inner()),
            Scalar::String(text) => Node::Text(text.clone().into_owned()),
        },
        Yaml::Representation(text, ..) => Node::Text(text.clone().into_owned()),
        Yaml::Sequence(items) => Node::List(items.iter().map(convert).collect::<Result<_, _>>()?),
        Yaml::Mapping(entries) => {
            let mut map: Vec<(String, Node)> = Vec::new();
            for (key, value) in entries {
                match (convert(key)?, convert(value)?) {
                    // What is merged in gives way to what is written out.
                    (Node::Text(key), Node::Map(merged)) if key == "<<" => {
                        for (key, value) in merged {
                            if !map.iter().any(|(known, _)| *known == key) {
                                map.push((key, value));
                            }
                        }
                    }
                    (key, value) => {
                        let key = key.text().ok_or("has a key that is no text")?;
                        map.retain(|(known, _)| *known != key);
                        map.push((key, value));
                    }
                }
            }
            Node::Map(map)
        }
        Yaml::Tagged(_, inner) => convert(inner)?,
        Yaml::Alias(_) | Yaml::BadValue => {
            return Err("has an alias or a value that cannot be resolved".to_owned());
        }
    })
}

impl Node {
    /// As it would be written; nothing for what has parts.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
            Self::Bool(flag) => Some(flag.to_string()),
            Self::Nothing | Self::List(_) | Self::Map(_) => None,
        }
    }

    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Nothing | Self::Bool(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// A positive whole number, not beyond `max`.
    pub(super) fn count(&self, max: u32) -> Option<u32> {
        let number = self.number()?;
        (number >= 1.0 && number <= f64::from(max)).then_some(number as u32)
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Bool(flag) => *flag,
            Self::Text(text) => text.eq_ignore_ascii_case("true"),
            Self::Nothing | Self::Number(_) | Self::List(_) | Self::Map(_) => false,
        }
    }

    pub(super) fn texts(&self) -> Vec<String> {
        match self {
            Self::List(items) => items.iter().filter_map(Self::text).collect(),
            other => other.text().into_iter().collect(),
        }
    }
}

impl Table {
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Node> {
        let at = self.left.iter().position(|(known, _)| known == key)?;
        match self.left.remove(at).1 {
            Node::Nothing => None,
            node => Some(node),
        }
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.take(key).and_then(|node| node.text())
    }

    /// The mapping under `key`; an empty one when there is none.
    pub(super) fn table(&mut self, key: &str) -> Self {
        let path = self.join(key);
        match self.take(key) {
            Some(Node::Map(left)) => Self { path, left },
            Some(_) | None => Self { path, left: Vec::new() },
        }
    }

    /// The mappings of the list under `key`.
    pub(super) fn tables(&mut self, key: &str) -> Vec<Self> {
        let path = self.join(key);
        let Some(Node::List(items)) = self.take(key) else { return Vec::new() };
        let tables = items.into_iter().enumerate().filter_map(|(at, item)| match item {
            Node::Map(left) => Some(Self { path: format!("{path}[{at}]"), left }),
            _ => None,
        });
        tables.collect()
    }

    /// Everything that was not taken: where it stands, and its key.
    pub(super) fn rest(self) -> impl Iterator<Item = (String, String)> {
        let Self { path, left } = self;
        left.into_iter().filter(|(_, node)| *node != Node::Nothing).map(move |(key, _)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            (path, key)
        })
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}
