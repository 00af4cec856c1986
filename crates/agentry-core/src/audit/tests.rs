use super::*;

fn chain(length: u64) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for at in 0..length {
        let entry = Entry {
            at: Timestamp::from_millis(i64::try_from(at).unwrap()),
            actor: "system".into(),
            action: "test.step".into(),
            subject: format!("thing-{at}"),
            detail: serde_json::json!({ "at": at }),
        };
        let (number, digest) = records
            .last()
            .map_or_else(|| (0, Digest::default()), |last| (last.number, last.digest));
        records.push(Record::link(number, digest, &entry).unwrap());
    }
    records
}

fn verify(records: &[Record]) -> Result<(u64, Digest), Broken> {
    let mut verifier = Verifier::default();
    records.iter().try_for_each(|record| verifier.check(record))?;
    Ok(verifier.head())
}

#[test]
fn an_untouched_chain_verifies_to_its_last_record() {
    let records = chain(5);
    assert_eq!(verify(&records), Ok((5, records[4].digest)));
}

#[test]
fn a_changed_a_removed_and_a_swapped_record_are_each_found() {
    let mut changed = chain(5);
    changed[2].entry = changed[2].entry.replace("thing-2", "thing-X");
    assert_eq!(verify(&changed), Err(Broken::Changed { number: 3 }));

    let mut removed = chain(5);
    removed.remove(1);
    assert_eq!(verify(&removed), Err(Broken::Gap { expected: 2, found: 3 }));

    let mut swapped = chain(5);
    swapped.swap(1, 2);
    assert_eq!(verify(&swapped), Err(Broken::Gap { expected: 2, found: 3 }));
}

#[test]
fn a_digest_survives_its_text() {
    let digest = chain(1)[0].digest;
    assert_eq!(digest.to_string().parse(), Ok(digest));
    assert_eq!("zz".parse::<Digest>(), Err(NotADigest));
}
