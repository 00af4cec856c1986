//! `[otel]`: where spans of model calls go.

use agentry_core::trace::Sampling;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;

use super::alerts::number;
use super::problem::Problem;
use super::reader::{At, Notes, Reader};
use super::tree::Value;
use super::value::{self, Unreadable};

/// Where to send them.
#[derive(Debug, Clone)]
pub(crate) struct Otel {
    pub(crate) endpoint: String,
    pub(crate) service: Option<String>,
    pub(crate) sampling: Sampling,
    pub(crate) headers: HeaderMap,
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const SERVICE: &str = "OTEL_SERVICE_NAME";

/// Nothing when calls are not traced. What the configuration says counts more than the usual variables.
pub(super) fn read(table: Option<Reader<'_>>, notes: &Notes<'_>) -> Option<Otel> {
    let variable = |name: &str| {
        notes.environment.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    };
    let (mut endpoint, mut service) = (None, None);
    let (mut sampling, mut headers) = (Sampling::ALL, HeaderMap::new());
    if let Some(mut table) = table {
        endpoint = table.read("endpoint", value::http_url).map(|at| at.value.to_string());
        service = table.read("service", value::text).map(|at| at.value);
        sampling = table.or("sample", Sampling::ALL, ratio);
        if let Some(table) = table.table("headers") {
            let secret = |value: &Value| value::secret(value, notes.environment, notes.folder);
            for (name, At { place, value }) in table.all(secret) {
                let named = HeaderName::try_from(name.as_str());
                match (named, HeaderValue::try_from(value.expose_secret())) {
                    (Ok(name), Ok(mut value)) => {
                        value.set_sensitive(true);
                        headers.insert(name, value);
                    }
                    _ => notes.report(
                        Problem::new(place, format!("`otel.headers.{name}` fits into no header"))
                            .hide(),
                    ),
                }
            }
        }
        table.finish();
    }
    let endpoint = endpoint.or_else(|| variable(ENDPOINT).map(ToOwned::to_owned))?;
    let service = service.or_else(|| variable(SERVICE).map(ToOwned::to_owned));
    Some(Otel { endpoint, service, sampling, headers })
}

fn ratio(value: &Value) -> Result<Sampling, Unreadable> {
    match number(value)? {
        ratio if ratio <= 1.0 => Ok(Sampling::ratio(ratio)),
        _ => Err(Unreadable::new("must be between 0 and 1").help("0.1 takes one trace in ten")),
    }
}
