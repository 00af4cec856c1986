//! Templates: text with `{{ names }}` of the state in it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use minijinja::value::ValueKind;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::Value;

/// A longer template is refused.
pub const TEMPLATE_BYTES_MAX: usize = 64 << 10;
/// What one template may write.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Instructions that one rendering may take.
const FUEL: u64 = 500_000;
const NAME: &str = "template";

mod meter;
mod shape;

/// Parsed once; rendering it is bounded in time and size.
#[derive(Clone)]
pub struct Template {
    environment: Arc<Environment<'static>>,
    names: Vec<String>,
    paths: Vec<String>,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    pub message: String,
    /// Bytes of the text.
    pub range: Option<Range<usize>>,
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, Bad> {
        if text.len() > TEMPLATE_BYTES_MAX {
            let message = format!("this template has more than {TEMPLATE_BYTES_MAX} bytes");
            return Err(Bad { message, range: None });
        }
        shape::check(text)?;
        let mut environment = Environment::new();
        meter::install(&mut environment);
        environment.set_debug(true);
        environment.set_fuel(Some(FUEL));
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_formatter(|output, state, value| match value.kind() {
            ValueKind::Seq | ValueKind::Map => serde_json::to_writer(Written(output), value)
                .map_err(|error| {
                    minijinja::Error::new(minijinja::ErrorKind::BadSerialization, error.to_string())
                }),
            _ => minijinja::escape_formatter(output, state, value),
        });
        environment.add_template_owned(NAME, text.to_owned()).map_err(|error| Bad {
            message: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
            range: error.range(),
        })?;
        let functions: Vec<String> =
            environment.globals().map(|(name, _)| name.to_owned()).collect();
        let used = |nested: bool| {
            let mut used: Vec<String> = match environment.get_template(NAME) {
                Ok(template) => template.undeclared_variables(nested).into_iter().collect(),
                Err(_) => Vec::new(),
            };
            used.retain(|name| !functions.contains(name));
            used.sort();
            used
        };
        let (names, mut paths) = (used(false), used(true));
        paths.retain(|path| path.contains('.'));
        Ok(Self { environment: Arc::new(environment), names, paths })
    }

    /// The names that must be given from outside.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The fields of them that it looks at, as in `input.topic`.
    #[must_use]
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The text; `value` tells what a name stands for, if anything.
    pub fn render(&self, value: impl Fn(&str) -> Option<Value>) -> Result<String, String> {
        let given: BTreeMap<&str, Value> =
            self.names.iter().filter_map(|name| Some((name.as_str(), value(name)?))).collect();
        let template = self.environment.get_template(NAME).map_err(|error| error.to_string())?;
        let mut output = Bounded { bytes: Vec::new(), full: false };
        let given = minijinja::value::Serde(&given);
        let rendered = template.render_captured_to(given, &mut output).map(|_| ());
        if output.full {
            return Err(format!("it writes more than {OUTPUT_BYTES_MAX} bytes"));
        }
        rendered.map_err(|error| self.explain(&error))?;
        String::from_utf8(output.bytes).map_err(|_| "it writes something else than text".to_owned())
    }

    fn explain(&self, error: &minijinja::Error) -> String {
        match error.kind() {
            minijinja::ErrorKind::OutOfFuel => "it takes too long to write".to_owned(),
            minijinja::ErrorKind::UndefinedError => {
                let named = error.range().zip(error.template_source()).and_then(|(range, text)| {
                    text.get(range).map(|place| format!("`{place}` has no value here"))
                });
                let names = self.names.join("`, `");
                named.unwrap_or_else(|| format!("one of `{names}` has no value here"))
            }
            kind => error.detail().map_or_else(|| kind.to_string(), str::to_owned),
        }
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("names", &self.names).finish_non_exhaustive()
    }
}

/// As far as there is room for it.
struct Written<'a, 'b>(&'a mut minijinja::Output<'b>);

impl io::Write for Written<'_, '_> {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(more).map_err(io::Error::other)?;
        self.0.write_str(text).map_err(io::Error::other)?;
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > OUTPUT_BYTES_MAX {
            self.full = true;
            return Err(io::Error::other("full"));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
