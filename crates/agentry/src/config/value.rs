//! From a written value to what it means.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use agentry_core::MicroUsd;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::tree::Value;

/// Why a value is not understood; the message goes on after its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// The value must not be shown.
    pub(super) secret: bool,
}

impl Unreadable {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, secret: false }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Something else than `expected`.
pub(super) fn not(expected: &str, value: &Value) -> Unreadable {
    Unreadable::new(format!("must be {expected}, not {}", value.kind()))
}

pub(super) fn text(value: &Value) -> Result<String, Unreadable> {
    match value {
        Value::Text(text) if text.is_empty() => Err(Unreadable::new("must not be empty")),
        Value::Text(text) => Ok(text.clone()),
        other => Err(not("a string", other)),
    }
}

pub(super) fn count(value: &Value) -> Result<u32, Unreadable> {
    match value {
        Value::Integer(number) => u32::try_from(*number)
            .map_err(|_| Unreadable::new(format!("must be between 0 and {}", u32::MAX))),
        other => Err(not("a whole number", other)),
    }
}

pub(super) fn at_least_one(value: &Value) -> Result<u32, Unreadable> {
    match count(value)? {
        0 => Err(Unreadable::new("must be at least 1")),
        count => Ok(count),
    }
}

/// `250ms`, `60s`, `5m`, `1h30m`, `1d`.
pub(super) fn duration(value: &Value) -> Result<Duration, Unreadable> {
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
pub(super) fn size(value: &Value) -> Result<usize, Unreadable> {
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

/// Where to listen. Beyond this machine only with keys, which is found out when it starts.
pub(super) fn listen(value: &Value) -> Result<SocketAddr, Unreadable> {
    let text = text(value)?;
    let help = "write an address and a port, as in \"127.0.0.1:7171\"";
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.clone(),
    };
    numeric
        .parse()
        .map_err(|_| Unreadable::new(format!("is not an address: \"{text}\"")).help(help))
}

/// `https://app.example.com`, as a browser names a page's origin.
pub(super) fn origin(value: &Value) -> Result<String, Unreadable> {
    let text = text(value)?;
    let url = parse_http_url(&text)?;
    match url.origin().ascii_serialization() == text {
        true => Ok(text),
        false => Err(Unreadable::new(format!("has \"{text}\", which is no origin"))
            .help(format!("write it as \"{}\"", url.origin().ascii_serialization()))),
    }
}

pub(super) fn flag(value: &Value) -> Result<bool, Unreadable> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        other => Err(not("true or false", other)),
    }
}

pub(super) fn http_url(value: &Value) -> Result<Url, Unreadable> {
    parse_http_url(&text(value)?)
}

pub(super) fn parse_http_url(text: &str) -> Result<Url, Unreadable> {
    let help = "write it like http://127.0.0.1:9090";
    let url = Url::parse(text)
        .map_err(|error| Unreadable::new(format!("is not a URL: {error}")).help(help))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(Unreadable::new("must begin with http:// or https://").help(help));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let mut refused = Unreadable::new("has a password in it")
            .help("a secret does not belong into the configuration: give it as env:NAME");
        refused.secret = true;
        return Err(refused);
    }
    Ok(url)
}

/// For an address that may have one, and is a secret then.
pub(super) fn without_password(text: &str) -> Result<(), Unreadable> {
    let url =
        Url::parse(text).map_err(|error| Unreadable::new(format!("is not a URL: {error}")))?;
    match url.password() {
        None => Ok(()),
        Some(_) => Err(Unreadable {
            message: "has a password in it, which does not belong into the configuration".to_owned(),
            help: Some(
                "put the whole address into a variable or a file, and write \"env:NAME\" or \"file:PATH\""
                    .to_owned(),
            ),
            secret: true,
        }),
    }
}

/// US dollars per million tokens.
pub(super) fn price(value: &Value) -> Result<MicroUsd, Unreadable> {
    let dollars = match value {
        Value::Integer(number) => *number as f64,
        Value::Float(number) => *number,
        other => return Err(not("a number of dollars per million tokens", other)),
    };
    if !(0.0..=1e6).contains(&dollars) {
        return Err(Unreadable::new("must be between 0 and a million dollars"));
    }
    Ok(MicroUsd((dollars * 1e6).round() as i64))
}

/// What may stand in the file, and may as well be named like a secret.
pub(super) fn text_or_named(
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

pub(super) fn secret(
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
    Err(Unreadable {
        message: "holds a secret, which does not belong into the configuration".to_owned(),
        help: Some(
            "put it into a variable or a file, and write \"env:NAME\" or \"file:PATH\"".to_owned(),
        ),
        secret: true,
    })
}
