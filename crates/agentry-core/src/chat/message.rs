//! One turn of a conversation.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    /// Nothing when an assistant only calls tools.
    #[serde(default)]
    pub content: Option<Content>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Which call this answers; only with [`Role::Tool`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Message {
    #[must_use]
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, text.into())
    }

    #[must_use]
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, text.into())
    }

    #[must_use]
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, text.into())
    }

    /// The answer to the tool call `id`.
    #[must_use]
    pub fn tool(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { tool_call_id: Some(id.into()), ..Self::new(Role::Tool, text.into()) }
    }

    fn new(role: Role, text: String) -> Self {
        Self { content: Some(Content::Text(text)), ..Self::empty(role) }
    }

    #[must_use]
    pub fn empty(role: Role) -> Self {
        Self {
            role,
            content: None,
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            refusal: None,
            extra: Map::new(),
        }
    }

    /// All text in it, joined.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => parts
                .iter()
                .filter_map(|part| match part {
                    Part::Text { text, .. } => Some(text.as_str()),
                    Part::ImageUrl { .. } | Part::Other(_) => None,
                })
                .collect(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "content is a string or an array of parts")]
pub enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Text {
        text: String,
        extra: Map<String, Value>,
    },
    /// `image_url` is kept as it came: an object with `url` and perhaps `detail`.
    ImageUrl {
        image_url: Value,
        extra: Map<String, Value>,
    },
    /// Audio, files, and what is not invented yet.
    Other(Map<String, Value>),
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tagged = |tag: &str, value: Value, extra: &Map<String, Value>| {
            let mut map = Map::new();
            map.insert("type".to_owned(), tag.into());
            map.insert(tag.to_owned(), value);
            map.extend(extra.clone());
            map
        };
        match self {
            Self::Text { text, extra } => tagged("text", text.as_str().into(), extra),
            Self::ImageUrl { image_url, extra } => tagged("image_url", image_url.clone(), extra),
            Self::Other(map) => map.clone(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut map = Map::deserialize(deserializer)?;
        match map.get("type").and_then(Value::as_str) {
            None => Err(D::Error::custom("a content part needs a `type`, for example \"text\"")),
            Some("text") => {
                map.shift_remove("type");
                match map.shift_remove("text") {
                    Some(Value::String(text)) => Ok(Self::Text { text, extra: map }),
                    _ => Err(D::Error::custom("a text part needs a string `text`")),
                }
            }
            Some("image_url") => {
                map.shift_remove("type");
                match map.shift_remove("image_url") {
                    Some(image_url) => Ok(Self::ImageUrl { image_url, extra: map }),
                    None => Err(D::Error::custom("an image_url part needs an `image_url`")),
                }
            }
            Some(_) => Ok(Self::Other(map)),
        }
    }
}

/// What a called tool takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CallKind {
    /// Arguments are the text of a JSON object.
    #[default]
    Function,
    /// Arguments are free text.
    Custom,
}

impl CallKind {
    /// The word for it on the wire, which also names the field beside `type` that holds the call.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Custom => "custom",
        }
    }
}

/// A model asks for a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    pub id: String,
    pub kind: CallKind,
    pub name: String,
    /// As the model wrote them: not necessarily valid.
    pub arguments: String,
    pub extra: Map<String, Value>,
}

impl Serialize for ToolCall {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { id, kind, name, arguments, extra } = self;
        let mut map = Map::new();
        map.insert("id".to_owned(), id.as_str().into());
        map.insert("type".to_owned(), kind.as_str().into());
        let body = match kind {
            CallKind::Function => json!({ "name": name, "arguments": arguments }),
            CallKind::Custom => json!({ "name": name, "input": arguments }),
        };
        map.insert(kind.as_str().to_owned(), body);
        map.extend(extra.clone());
        map.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ToolCall {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut map = Map::deserialize(deserializer)?;
        let kind = match map.shift_remove("type").as_ref().and_then(Value::as_str) {
            None | Some("function") => CallKind::Function,
            Some("custom") => CallKind::Custom,
            Some(other) => {
                return Err(D::Error::custom(format!(
                    "a tool call is of type `function` or `custom`, not `{other}`"
                )));
            }
        };
        let text = |value: Option<Value>| match value {
            Some(Value::String(text)) => Ok(text),
            Some(Value::Null) | None => Ok(String::new()),
            // Some compatible servers send the arguments as an object.
            Some(object @ Value::Object(_)) => Ok(object.to_string()),
            Some(_) => {
                Err(D::Error::custom("`id`, `name` and the arguments of a tool call are strings"))
            }
        };
        let id = text(map.shift_remove("id"))?;
        let Some(Value::Object(mut body)) = map.shift_remove(kind.as_str()) else {
            return Err(D::Error::custom(format!(
                "a tool call needs an object `{}`",
                kind.as_str()
            )));
        };
        let name = text(body.shift_remove("name"))?;
        let arguments = match kind {
            CallKind::Function => body.shift_remove("arguments"),
            CallKind::Custom => body.shift_remove("input"),
        };
        Ok(Self { id, kind, name, arguments: text(arguments)?, extra: map })
    }
}

pub(super) fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
