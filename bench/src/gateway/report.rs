//! Figures, as lines of JSON or as a table for people.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::options::Options;
use crate::{provenance, say};

pub(crate) struct Report {
    json: bool,
    rows: Vec<[String; 4]>,
    /// Of the machine as it is found: later this process is on one core of it.
    provenance: Value,
}

/// A comparison: with whom, and how many times as much.
pub(crate) struct Against {
    pub(crate) whom: &'static str,
    pub(crate) ratio: f64,
}

impl Against {
    pub(crate) fn new(whom: &'static str, value: f64, theirs: f64) -> Option<Self> {
        (theirs > 0.0).then(|| Self { whom, ratio: value / theirs })
    }
}

impl Report {
    pub(crate) fn begin(options: &Options) -> Self {
        Self { json: options.json, rows: Vec::new(), provenance: provenance() }
    }

    /// Under what circumstances the figures were taken: the first line.
    pub(crate) fn circumstances(&self, options: &Options, policies: &[&str]) -> Result<()> {
        let mut provenance = self.provenance.clone();
        if let Some(fields) = provenance.as_object_mut() {
            fields.insert("policies".to_owned(), json!(policies));
            fields.insert("pinned".to_owned(), json!(options.pinned));
            if let Some(binary) = &options.binary {
                // The commit is not what was measured.
                fields.insert("binary".to_owned(), json!(binary));
            }
            fields.insert("quick".to_owned(), json!(options.quick));
            fields.insert("load_average".to_owned(), json!(load_average()));
        }
        say(&provenance.to_string())
    }

    /// For whoever waits, not for whoever reads the figures.
    pub(crate) fn note(&self, text: &str) -> Result<()> {
        writeln!(std::io::stderr(), "{text}").context("write to stderr")
    }

    pub(crate) fn figure(
        &mut self,
        name: String,
        value: f64,
        unit: &str,
        against: Option<Against>,
    ) -> Result<()> {
        let rounded = (value * 1000.0).round() / 1000.0;
        if self.json {
            let mut figure = json!({ "name": name, "value": rounded, "unit": unit });
            if let (Some(Against { whom, ratio }), Some(fields)) =
                (&against, figure.as_object_mut())
            {
                fields.insert("against".to_owned(), json!(whom));
                fields.insert("ratio".to_owned(), json!((ratio * 100.0).round() / 100.0));
            }
            return say(&figure.to_string());
        }
        let ratio = against.map(|Against { whom, ratio }| format!("{ratio:.2} × {whom}"));
        let digits = if rounded.abs() < 100.0 { 1 } else { 0 };
        let row = [name, format!("{rounded:.digits$}"), unit.to_owned(), ratio.unwrap_or_default()];
        self.note(&row.join("  "))?;
        self.rows.push(row);
        Ok(())
    }

    pub(crate) fn end(self) -> Result<()> {
        let width = |column: fn(&[String; 4]) -> &String| {
            self.rows.iter().map(|row| column(row).chars().count()).max().unwrap_or(0)
        };
        let (names, values) = (width(|[name, ..]| name), width(|[_, value, ..]| value));
        for [name, value, unit, ratio] in &self.rows {
            say(format!("{name:names$}  {value:>values$} {unit:9} {ratio}").trim_end())?;
        }
        Ok(())
    }
}

/// Figures from a machine that was busy say so themselves.
fn load_average() -> String {
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    loads.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// The middle one; 0 of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    percentile(values, 50.0)
}

/// The nearest rank.
pub(crate) fn percentile(values: impl IntoIterator<Item = f64>, percent: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * percent / 100.0).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        for (percent, expected) in [(0.0, 1.0), (50.0, 3.0), (80.0, 4.0), (99.0, 5.0), (100.0, 5.0)]
        {
            assert_eq!(percentile(values, percent), expected, "{percent}");
        }
        assert_eq!(median([]), 0.0);
    }
}
