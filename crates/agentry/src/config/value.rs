//! From a written value to what it means: what only the configuration has.

use std::net::SocketAddr;

use agentry_core::MicroUsd;
use url::Url;

use super::tree::Value;

pub(super) use agentry_notation::value::{
    Unreadable, at_least_one, count, duration, flag, not, secret, size, text, text_or_named,
};

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
