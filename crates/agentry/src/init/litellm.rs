//! A LiteLLM proxy's configuration, read into one of ours. What has no counterpart is told, never dropped in silence.

use yaml::Table;

mod models;
mod settings;
mod vendor;
mod write;
mod yaml;

/// What came of it.
pub(super) struct Imported {
    /// The text of an `agentry.toml`.
    pub(super) toml: String,
    /// What the reader of both files must know.
    pub(super) notes: Vec<String>,
}

/// Things that are told at the end, each with its place.
#[derive(Debug, Default)]
struct Notes(Vec<String>);

impl Notes {
    fn push(&mut self, path: impl Into<String>, what: &str) {
        let note = format!("{}: {what}", path.into());
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    /// Whatever was not taken.
    fn rest(&mut self, table: Table) {
        for (path, key) in table.rest() {
            self.push(path, why(&key));
        }
    }
}

pub(super) fn import(text: &str) -> Result<Imported, String> {
    let mut root = yaml::parse(text)?;
    let mut notes = Notes::default();
    let mut models = models::read(root.tables("model_list"), &mut notes);
    if models.list.is_empty() {
        return Err("has no `model_list` with a model that has a counterpart".to_owned());
    }
    let settings = settings::read(&mut root, &mut models, &mut notes);
    notes.rest(root);
    let toml = write::write(&models, &settings, &notes.0);
    Ok(Imported { toml, notes: notes.0 })
}

/// `os.environ/NAME` as it is named here. A secret that is written out stays where it is.
fn secret(written: &str, usual: &str, path: &str, notes: &mut Notes) -> String {
    match written.strip_prefix("os.environ/") {
        Some(variable) => format!("env:{variable}"),
        None => {
            let what =
                format!("the secret itself stands there and is not copied: export {usual}=…");
            notes.push(path, &what);
            format!("env:{usual}")
        }
    }
}

/// What is to be said of a key that has no counterpart.
fn why(key: &str) -> &'static str {
    match key {
        "drop_params" | "modify_params" | "additional_drop_params" => {
            "not needed: requests are adapted to what each vendor takes"
        }
        "set_verbose" | "debug" | "json_logs" | "turn_off_message_logging" => {
            "not needed: `agentry -v serve` logs more, and prompts are never logged"
        }
        "success_callback" | "failure_callback" | "callbacks" | "service_callback" => {
            "no counterpart: read /metrics instead"
        }
        "enable_pre_call_checks" => "not needed: errors of too long a context go to the fallbacks",
        "supports_function_calling" | "supports_vision" | "supports_response_schema" => {
            "not needed: what a model can do is not restricted here"
        }
        "temperature" | "top_p" | "max_tokens" | "stop" | "seed" => {
            "no counterpart: callers send their own parameters"
        }
        "rpm" | "tpm" => {
            "no counterpart for a target: its vendor's own refusals are heeded; see `limit`"
        }
        "guardrails" => "write [guards] for personal data, secrets, denied patterns and injection",
        "alerting" | "alerting_threshold" => "no counterpart: alert on /metrics",
        "environment_variables" => "secrets do not stand in a configuration: export them",
        _ => "no counterpart",
    }
}

#[cfg(test)]
mod tests;
