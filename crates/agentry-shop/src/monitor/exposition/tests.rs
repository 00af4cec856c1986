use super::*;

type Expected<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

fn check(text: &str, expected: &[Expected<'_>]) {
    let expected: Vec<Sample> = expected
        .iter()
        .map(|(name, labels, value)| Sample {
            name: (*name).to_owned(),
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            value: *value,
        })
        .collect();
    assert_eq!(parse(text), expected, "{text}");
}

#[test]
fn samples_are_read() {
    check("# HELP up Whether.\n# TYPE up gauge\nup 1\n", &[("up", &[], 1.0)]);
    check(
        "hits_total{route=\"/a,b\",code=\"200\"} 3 1700000000000\n",
        &[("hits_total", &[("code", "200"), ("route", "/a,b")], 3.0)],
    );
    check("seconds_bucket{le=\"+Inf\"} 1.5e3", &[("seconds_bucket", &[("le", "+Inf")], 1500.0)]);
    check("said{what=\"a \\\"b\\\" \\\\ }\",} 2", &[("said", &[("what", "a \"b\" \\ }")], 2.0)]);
}

#[test]
fn what_is_no_sample_is_passed_over() {
    for text in [
        "",
        "up",
        "up{",
        "up{a=\"",
        "up{a=\"b\"",
        "up{a=\"b\"}",
        "up x",
        "up NaN",
        " 1",
        "up{a=\"\\",
    ] {
        check(text, &[]);
    }
}
