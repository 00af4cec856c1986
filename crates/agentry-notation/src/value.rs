//! From a written value to what it means.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::tree::Value;

/// Why a value is not understood; the message goes on after its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub message: String,
    pub help: Option<String>,
    /// The value must not be shown.
    pub secret: bool,
}

impl Unreadable {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, secret: false }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Something else than `expected`.
pub fn not(expected: &str, value: &Value) -> Unreadable {
    Unreadable::new(format!("must be {expected}, not {}", value.kind()))
}

pub fn text(value: &Value) -> Result<String, Unreadable> {
    match value {
        Value::Text(text) if text.is_empty() => Err(Unreadable::new("must not be empty")),
        Value::Text(text) => Ok(text.clone()),
        other => Err(not("a string", other)),
    }
}

pub fn count(value: &Value) -> Result<u32, Unreadable> {
    match value {
        Value::Integer(number) => u32::try_from(*number)
            .map_err(|_| Unreadable::new(format!("must be between 0 and {}", u32::MAX))),
        other => Err(not("a whole number", other)),
    }
}

pub fn at_least_one(value: &Value) -> Result<u32, Unreadable> {
    match count(value)? {
        0 => Err(Unreadable::new("must be at least 1")),
        count => Ok(count),
    }
}

/// `250ms`, `60s`, `5m`, `1h30m`, `1d`.
pub fn duration(value: &Value) -> Result<Duration, Unreadable> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let help = "write a number with ms, s, m, h or d, as in \"60s\"";
    let millis = measure(value, &units, help)?;
    if millis == 0 {
        return Err(Unreadable::new("must be longer than nothing").help(help));
    }
    if millis > 366 * 86_400_000 {
        return Err(Unreadable::new("must not be longer than a year").help(help));
    }
    Ok(Duration::from_millis(millis))
}

/// `512B`, `10KiB`, `10MB`, `1GiB`.
pub fn size(value: &Value) -> Result<usize, Unreadable> {
    let units = [
        ("B", 1),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ];
    let help = "write a number with B, KiB, MiB or GiB, as in \"10MiB\"";
    let bytes = measure(value, &units, help)?;
    usize::try_from(bytes).map_err(|_| Unreadable::new("is too large").help(help))
}

fn measure(value: &Value, units: &[(&str, u64)], help: &str) -> Result<u64, Unreadable> {
    let bad = |message: String| Unreadable::new(message).help(help);
    let text = match value {
        Value::Text(text) => text.trim(),
        Value::Integer(number) => return Err(bad(format!("needs a unit behind {number}"))),
        other => return Err(bad(not("a string", other).message)),
    };
    let mut rest = text;
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let scale = units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
        let part = number.parse::<u64>().ok().zip(scale);
        let part = part.and_then(|(number, scale)| number.checked_mul(scale));
        sum = part
            .and_then(|part| sum.checked_add(part))
            .ok_or_else(|| bad(format!("is not understood: \"{text}\"")))?;
        rest = after.trim_start();
    }
    if text.is_empty() { Err(bad("must not be empty".to_owned())) } else { Ok(sum) }
}

pub fn flag(value: &Value) -> Result<bool, Unreadable> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        other => Err(not("true or false", other)),
    }
}

/// What may stand in the file, and may as well be named like a secret.
pub fn text_or_named(
    value: &Value,
    environment: &BTreeMap<String, String>,
    folder: &Path,
) -> Result<String, Unreadable> {
    let text = text(value)?;
    match text.split_once(':') {
        Some(("env" | "file", _)) => {
            secret(value, environment, folder).map(|secret| secret.expose_secret().to_owned())
        }
        _ => Ok(text),
    }
}

pub fn secret(
    value: &Value,
    environment: &BTreeMap<String, String>,
    folder: &Path,
) -> Result<SecretString, Unreadable> {
    let text = text(value)?;
    if let Some(name) = text.strip_prefix("env:") {
        return match environment.get(name).filter(|secret| !secret.trim().is_empty()) {
            Some(secret) => Ok(secret.as_str().into()),
            None => Err(Unreadable::new(format!(
                "needs the environment variable {name}, which is not set"
            ))
            .help(format!("export {name}=..., or write \"file:PATH\""))),
        };
    }
    if let Some(path) = text.strip_prefix("file:") {
        let path = folder.join(path);
        let read = std::fs::read_to_string(&path).map_err(|error| {
            Unreadable::new(format!("needs {}, which cannot be read: {error}", path.display()))
        })?;
        let secret = read.trim();
        if secret.is_empty() {
            return Err(Unreadable::new(format!("needs {}, which is empty", path.display())));
        }
        return Ok(secret.into());
    }
    Err(exposed())
}

/// A secret that stands where anybody can read it.
#[must_use]
pub fn exposed() -> Unreadable {
    Unreadable {
        message: "holds a secret, which does not belong into the configuration".to_owned(),
        help: Some(
            "put it into a variable or a file, and write \"env:NAME\" or \"file:PATH\"".to_owned(),
        ),
        secret: true,
    }
}
