//! Precision and recall on our own texts.

use agentry_guards::{Action, Guards, Kind, Settings};

use crate::corpus;

#[derive(Debug, Default)]
pub(crate) struct Score {
    pub(crate) hits: usize,
    pub(crate) missed: Vec<String>,
    pub(crate) wrong: Vec<String>,
}

impl Score {
    /// Compares what was found of a kind with what is there; each label is found once.
    pub(crate) fn add(&mut self, text: &str, found: Vec<&str>, labels: &[String]) {
        let mut open: Vec<&String> = labels.iter().collect();
        for one in found {
            match open.iter().position(|label| alike(label, one)) {
                Some(at) => {
                    open.swap_remove(at);
                    self.hits += 1;
                }
                None => self.wrong.push(format!("{one} in {text}")),
            }
        }
        self.missed.extend(open.into_iter().map(|label| format!("{label} in {text}")));
    }

    pub(crate) fn precision(&self) -> f64 {
        ratio(self.hits, self.wrong.len())
    }

    pub(crate) fn recall(&self) -> f64 {
        ratio(self.hits, self.missed.len())
    }
}

/// The same stretch, but for a sign at either end.
fn alike(label: &str, found: &str) -> bool {
    let short = label.len().min(found.len());
    short * 2 >= label.len().max(found.len()) && (label.contains(found) || found.contains(label))
}

fn ratio(good: usize, bad: usize) -> f64 {
    if good + bad == 0 { 1.0 } else { good as f64 / (good + bad) as f64 }
}

fn check(kind: Kind, precision: f64, recall: f64) {
    let more: &[Kind] = if kind.is_default() { &[] } else { &[kind] };
    let guards = corpus::guards(Action::Report, more);
    let mut score = Score::default();
    let none = Vec::new();
    for labelled in corpus::personal() {
        let findings = guards.scan(&labelled.text);
        let found = findings.into_iter().filter(|finding| finding.kind == kind);
        let found = found.map(|finding| &labelled.text[finding.range]).collect();
        let labels = labelled.find.get(kind.name()).unwrap_or(&none);
        score.add(&labelled.text, found, labels);
    }
    let (p, r) = (score.precision(), score.recall());
    println!(
        "{kind:?}: {} labels, precision {p:.3}, recall {r:.3}",
        score.hits + score.missed.len()
    );
    assert!(score.hits > 0, "{kind}: nothing found");
    assert!(p >= precision && r >= recall, "{kind}: precision {p:.3}, recall {r:.3}\n{score:#?}");
}

#[test]
fn the_usual_personal_data_is_found_and_little_else() {
    check(Kind::Email, 0.99, 0.99);
    check(Kind::CreditCard, 0.99, 0.99);
    check(Kind::Iban, 0.99, 0.95);
    check(Kind::UsSsn, 0.99, 0.99);
    check(Kind::Ip, 0.99, 0.99);
    check(Kind::Phone, 0.85, 0.80);
}

#[test]
fn kinds_that_are_asked_for_by_name_are_found() {
    check(Kind::Url, 0.95, 0.95);
    for kind in [
        Kind::Btc,
        Kind::UsItin,
        Kind::UsRouting,
        Kind::UkNhs,
        Kind::UkNino,
        Kind::DeTaxId,
        Kind::InAadhaar,
        Kind::EsNif,
        Kind::PlPesel,
        Kind::FiHetu,
        Kind::SePersonnummer,
        Kind::TrKimlik,
    ] {
        check(kind, 0.95, 0.95);
    }
}

#[test]
fn attempts_at_injection_are_noticed_and_harmless_texts_are_not() {
    let settings = Settings { injection: Action::Report, ..Settings::default() };
    let guards = Guards::new(&settings).unwrap();
    let (mut noticed, mut missed, mut wrong, mut harmless) = (0, Vec::new(), Vec::new(), 0);
    for (text, is_attempt) in corpus::injection() {
        let is_found = guards.scan(&text).iter().any(|finding| finding.kind == Kind::Injection);
        match (is_attempt, is_found) {
            (true, true) => noticed += 1,
            (true, false) => missed.push(text),
            (false, true) => wrong.push(text),
            (false, false) => harmless += 1,
        }
    }
    println!("injection: noticed {noticed}, missed {missed:?}, wrong {wrong:?}");
    assert!(wrong.len() * 100 <= 2 * (harmless + wrong.len()), "{wrong:#?}");
    assert!(noticed * 10 >= 9 * (noticed + missed.len()), "{missed:#?}");
}
