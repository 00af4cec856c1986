//! Log lines: JSON in the dialects of the usual libraries, or plain text behind a time.

use std::fmt;
use std::io;

use agentry_core::Timestamp;
use agentry_core::telemetry::{Level, LogLine, Query};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::newest::Newest;
use super::scalar::{self, Text};
use super::scan::{Broken, Line, Scanner};
use super::{Found, wants};

pub(super) fn read(scanner: &Scanner, query: &Query) -> io::Result<Found<LogLine>> {
    let mut newest = Newest::new(query.items_max, |line: &LogLine| line.at);
    let scanned = scanner.each_line(|line| {
        let entry = parse(line).ok_or(Broken)?;
        let service = entry.service.as_str().filter(|name| !name.is_empty()).unwrap_or(line.stem);
        if query.window.contains(entry.at) && wants(query, service) {
            newest.push(LogLine {
                at: entry.at,
                service: service.to_owned(),
                level: entry.level,
                trace_id: entry.trace_id.filled(),
                message: entry.message.0.unwrap_or_default().into_owned(),
                handle: line.handle(),
            });
        }
        Ok(())
    })?;
    Ok(Found { page: newest.page(scanned.truncated), skipped: scanned.skipped })
}

struct Entry<'a> {
    at: Timestamp,
    level: Level,
    service: Text<'a>,
    message: Text<'a>,
    trace_id: Text<'a>,
}

fn parse<'a>(line: &Line<'a>) -> Option<Entry<'a>> {
    if line.bytes.starts_with(b"{") {
        let fields: Fields<'a> = serde_json::from_slice(line.bytes).ok()?;
        let Fields { time, level, service, message, trace_id } = fields;
        message.as_str()?;
        let level = level.as_str().and_then(level_of).unwrap_or(Level::Info);
        return Some(Entry { at: scalar::time(&time)?, level, service, message, trace_id });
    }
    plain(std::str::from_utf8(line.bytes).ok()?)
}

/// `2026-01-31T08:00:00Z [ERROR] what happened`
fn plain(text: &str) -> Option<Entry<'_>> {
    let brackets: &[char] = &['[', ']', ':', '(', ')'];
    let (first, rest) = text.split_once(char::is_whitespace)?;
    let at = first.trim_matches(brackets).parse().ok()?;
    let rest = rest.trim_start();
    let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let (level, message) = match level_of(word.trim_matches(brackets)) {
        Some(level) => (level, after.trim_start()),
        None => (Level::Info, rest),
    };
    Some(Entry {
        at,
        level,
        service: Text(None),
        message: Text(Some(message.into())),
        trace_id: Text(None),
    })
}

/// Words of syslog and of the usual libraries; the numbers are those of Bunyan and Pino.
fn level_of(word: &str) -> Option<Level> {
    const WORDS: [(&str, Level); 20] = [
        ("info", Level::Info),
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("warning", Level::Warn),
        ("debug", Level::Debug),
        ("trace", Level::Debug),
        ("information", Level::Info),
        ("notice", Level::Info),
        ("err", Level::Error),
        ("critical", Level::Error),
        ("fatal", Level::Error),
        ("panic", Level::Error),
        ("alert", Level::Error),
        ("emergency", Level::Error),
        ("10", Level::Debug),
        ("20", Level::Debug),
        ("30", Level::Info),
        ("40", Level::Warn),
        ("50", Level::Error),
        ("60", Level::Error),
    ];
    WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|&(_, level)| level)
}

/// The fields we know under any of their names; the first one that has a value counts.
#[derive(Default)]
struct Fields<'a> {
    time: Text<'a>,
    level: Text<'a>,
    service: Text<'a>,
    message: Text<'a>,
    trace_id: Text<'a>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a log line")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<Text<'de>>()? {
            let field = match name.as_str().unwrap_or_default() {
                "timestamp" | "ts" | "time" | "@timestamp" => &mut fields.time,
                "level" | "severity" | "lvl" | "log.level" => &mut fields.level,
                "service" | "service_name" | "service.name" | "app" => &mut fields.service,
                "message" | "msg" | "body" => &mut fields.message,
                "trace_id" | "traceId" | "traceid" | "trace.id" => &mut fields.trace_id,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let value = map.next_value::<Text<'de>>()?;
            *field = std::mem::take(field).or(value);
        }
        Ok(fields)
    }
}
