//! Samples of scrapes, put together to series.

use std::collections::HashMap;
use std::io;

use agentry_core::telemetry::{Page, Query, Series};
use serde::Deserialize;

use super::scalar::{self, Text};
use super::scan::{Broken, Scanner};
use super::{Found, wants};

#[derive(Deserialize)]
struct Scrape<'a> {
    #[serde(borrow)]
    timestamp: Text<'a>,
    #[serde(borrow, default)]
    service: Text<'a>,
    #[serde(borrow)]
    samples: Vec<Sample<'a>>,
}

#[derive(Deserialize)]
struct Sample<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow, default)]
    labels: Labels<'a>,
    #[serde(borrow)]
    value: Text<'a>,
}

/// Kept as the list that it is in the file: most samples only ask which series they belong to.
#[derive(Default)]
struct Labels<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LabelsVisitor)
    }
}

struct LabelsVisitor;

impl<'de> serde::de::Visitor<'de> for LabelsVisitor {
    type Value = Labels<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("labels")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Labels<'de>, A::Error> {
        let mut labels = Vec::new();
        while let Some(entry) = map.next_entry()? {
            labels.push(entry);
        }
        Ok(Labels(labels))
    }
}

pub(super) fn read(scanner: &Scanner, query: &Query) -> io::Result<Found<Series>> {
    let mut series: Vec<Series> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut truncated = false;
    let mut key = String::new();
    let scanned = scanner.each_line(|line| {
        let scrape: Scrape = serde_json::from_slice(line.bytes).map_err(|_| Broken)?;
        let at = scalar::time(&scrape.timestamp).ok_or(Broken)?;
        let service = scrape.service.as_str().filter(|name| !name.is_empty()).unwrap_or(line.stem);
        if !query.window.contains(at) || !wants(query, service) {
            return Ok(());
        }
        for mut sample in scrape.samples {
            let Some(value) = sample.value.as_str().and_then(|text| text.parse::<f64>().ok())
            else {
                continue;
            };
            let Some(name) = sample.name.as_str().filter(|_| value.is_finite()) else { continue };
            sample.labels.0.sort_by(|(left, _), (right, _)| left.as_str().cmp(&right.as_str()));
            write_key(&mut key, service, name, &sample.labels);
            let place = match places.get(&key) {
                Some(&place) => place,
                None if series.len() >= query.items_max => {
                    truncated = true;
                    continue;
                }
                None => {
                    places.insert(key.clone(), series.len());
                    series.push(empty(service, name, &sample.labels));
                    series.len() - 1
                }
            };
            if let Some(series) = series.get_mut(place) {
                series.points.push((at, value));
            }
        }
        Ok(())
    })?;
    for series in &mut series {
        series.points.sort_by_key(|&(at, _)| at);
        // The same instant twice, after a rotation that copied: one of them is enough.
        series.points.dedup_by_key(|&mut (at, _)| at);
    }
    let page = Page { items: series, truncated: truncated || scanned.truncated };
    Ok(Found { page, skipped: scanned.skipped })
}

fn write_key(key: &mut String, service: &str, name: &str, labels: &Labels<'_>) {
    key.clear();
    let pairs = labels.0.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).flatten();
    for part in [service, name].into_iter().chain(pairs) {
        key.push_str(part);
        key.push('\u{1f}');
    }
}

fn empty(service: &str, name: &str, labels: &Labels<'_>) -> Series {
    let pairs = labels.0.iter().filter(|(name, _)| name.as_str() != Some("service"));
    Series {
        name: name.to_owned(),
        service: service.to_owned(),
        labels: pairs.filter_map(|(name, value)| Some((name.filled()?, value.filled()?))).collect(),
        points: Vec::new(),
    }
}
