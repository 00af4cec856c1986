//! The same measure on texts that others labelled, where they are at hand: `shared/data/pii/presidio_synth_v2.jsonl` beside
//! this checkout.

use std::path::Path;

use agentry_guards::{Action, Kind};
use serde_json::Value;

use crate::corpus;
use crate::quality::Score;

const NAMES: [(&str, Kind); 7] = [
    ("EMAIL_ADDRESS", Kind::Email),
    ("CREDIT_CARD", Kind::CreditCard),
    ("IBAN_CODE", Kind::Iban),
    ("US_SSN", Kind::UsSsn),
    ("IP_ADDRESS", Kind::Ip),
    ("PHONE_NUMBER", Kind::Phone),
    ("DOMAIN_NAME", Kind::Url),
];

#[test]
fn texts_that_others_labelled_are_measured() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/pii/presidio_synth_v2.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: there is no {}", path.display());
        return;
    };
    for (name, kind) in NAMES {
        let more: &[Kind] = if kind.is_default() { &[] } else { &[kind] };
        let guards = corpus::guards(Action::Report, more);
        let mut score = Score::default();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = line["full_text"].as_str().unwrap();
            let spans = line["spans"].as_array().unwrap().iter();
            let labels: Vec<String> = spans
                .filter(|span| span["entity_type"] == name)
                .map(|span| span["entity_value"].as_str().unwrap().to_owned())
                .collect();
            let findings = guards.scan(text).into_iter().filter(|finding| finding.kind == kind);
            score.add(text, findings.map(|finding| &text[finding.range]).collect(), &labels);
        }
        let labels = score.hits + score.missed.len();
        println!(
            "{name}: {labels} labels, precision {:.3}, recall {:.3}",
            score.precision(),
            score.recall()
        );
        assert!(labels > 0, "{name}: the file has no such label");
    }
}
