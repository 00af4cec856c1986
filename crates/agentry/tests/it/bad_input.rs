//! Bad input gets a clear error, and hurts nothing else. The cases stand in tables of their own.

use std::fs;

use serde_json::Value;

use crate::support::{ANSWERS, Running, agentry, finish};

mod alerts;
mod chat;
mod commands;
mod http;
mod storage;

/// A request, and what must be answered.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) request: Vec<u8>,
    pub(crate) status: u16,
    /// Stands in the message, the param or the code.
    pub(crate) says: &'static str,
}

/// Runs each case against one server; after each, the server must be healthy.
pub(crate) fn check(cases: Vec<Case>) {
    let server = Running::start();
    for Case { name, request, status, says } in cases {
        let answer = server.exchange(&request);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let expected = format!("HTTP/1.1 {status} ");
        assert!(head.starts_with(&expected), "{name}: expected {status}, got {answer:?}");
        assert!(head.contains("\r\nx-request-id: "), "{name}: {head}");
        let body: Value =
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{name}: {error}: {body}"));
        let error = &body["error"];
        for field in ["message", "type", "code"] {
            assert!(error[field].is_string(), "{name}: {field} of {body}");
        }
        assert!(error.get("param").is_some(), "{name}: param of {body}");
        let told = format!("{} {} {}", error["message"], error["param"], error["code"]);
        assert!(told.contains(says), "{name}: no {says:?} in {told}");
        server.assert_healthy(name);
    }
}

/// A command line in a folder with this configuration, and how it must end.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// `agentry.toml`; none when empty.
    pub(crate) config: &'static str,
    pub(crate) variables: &'static [(&'static str, &'static str)],
    pub(crate) arguments: &'static [&'static str],
    pub(crate) exit: i32,
    /// All stand in what is said on stderr.
    pub(crate) says: &'static [&'static str],
}

pub(crate) fn check_lines(lines: Vec<Line>) {
    for Line { name, config, variables, arguments, exit, says } in lines {
        let folder = tempfile::tempdir().unwrap();
        if !config.is_empty() {
            fs::write(folder.path().join("agentry.toml"), config).unwrap();
        }
        fs::write(folder.path().join("answers.toml"), ANSWERS).unwrap();
        let before = names(folder.path());
        let mut command = agentry(folder.path());
        command.args(arguments).envs(variables.iter().copied());
        let output = finish(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{name}: {said}");
        for says in says {
            assert!(said.contains(says), "{name}: no {says:?} in {said}");
        }
        assert_eq!(names(folder.path()), before, "{name}: it left something behind");
    }
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
