use proptest::prelude::*;
use serde_json::json;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[track_caller]
fn check((schedule, zone): (&str, Option<&str>), after: &str, expected: &[&str]) {
    let schedule = Schedule::new(schedule, zone).unwrap();
    let mut now = at(after);
    let mut found = Vec::new();
    for _ in expected {
        now = schedule.next(now).unwrap();
        found.push(now.to_string());
    }
    assert_eq!(found, expected);
}

#[test]
fn a_schedule_comes_when_its_fields_say() {
    let check = |schedule, after, expected: &[&str]| check((schedule, None), after, expected);
    check("* * * * *", "2026-01-31T08:00:00Z", &["2026-01-31T08:01:00Z", "2026-01-31T08:02:00Z"]);
    check("* * * * *", "2026-01-31T08:00:59.9Z", &["2026-01-31T08:01:00Z"]);
    check(
        "*/20 9-10 * * *",
        "2026-01-31T09:30:00Z",
        &[
            "2026-01-31T09:40:00Z",
            "2026-01-31T10:00:00Z",
            "2026-01-31T10:20:00Z",
            "2026-01-31T10:40:00Z",
            "2026-02-01T09:00:00Z",
        ],
    );
    check("0 0 31 * *", "2026-01-31T08:00:00Z", &["2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"]);
    check("30 6 29 2 *", "2026-01-31T08:00:00Z", &["2028-02-29T06:30:00Z"]);
    check(
        "0 0 29 2 */7",
        "2026-01-31T08:00:00Z",
        &["2032-02-29T00:00:00Z", "2060-02-29T00:00:00Z"],
    );
    check(
        "15,45 */12 * jan,JUL MON-fri",
        "2026-01-30T13:00:00Z",
        &["2026-07-01T00:15:00Z", "2026-07-01T00:45:00Z", "2026-07-01T12:15:00Z"],
    );
    check(
        "0 12 * * 5-7",
        "2026-01-31T12:00:00Z",
        &["2026-02-01T12:00:00Z", "2026-02-06T12:00:00Z"],
    );
    check("0 12 * * fri-sun", "2026-01-31T12:00:00Z", &["2026-02-01T12:00:00Z"]);
    check("0 12 * * 0", "2026-01-31T12:00:00Z", &["2026-02-01T12:00:00Z"]);
    check(
        "50/5 0 1 1 *",
        "2026-01-01T00:50:00Z",
        &["2026-01-01T00:55:00Z", "2027-01-01T00:50:00Z"],
    );
    // Either kind of day is enough, unless one of them begins with a star.
    check(
        "0 0 13 * fri",
        "2026-02-01T00:00:00Z",
        &["2026-02-06T00:00:00Z", "2026-02-13T00:00:00Z"],
    );
    check(
        "0 0 13 * */5",
        "2026-02-01T00:00:00Z",
        &["2026-02-13T00:00:00Z", "2026-03-13T00:00:00Z"],
    );
    check(
        "*/15 59 23 31 12 *",
        "2026-12-31T23:59:40Z",
        &["2026-12-31T23:59:45Z", "2027-12-31T23:59:00Z"],
    );
    check("@weekly", "2026-01-31T08:00:00Z", &["2026-02-01T00:00:00Z"]);
    check(" @Hourly ", "2026-01-31T08:00:00Z", &["2026-01-31T09:00:00Z"]);
}

#[test]
fn clocks_that_are_changed_neither_skip_nor_repeat() {
    let berlin = |schedule, after, expected: &[&str]| {
        check((schedule, Some("Europe/Berlin")), after, expected);
    };
    berlin("0 8 * * *", "2026-03-28T08:00:00Z", &["2026-03-29T06:00:00Z", "2026-03-30T06:00:00Z"]);
    // From 02:00 to 03:00 at 01:00 UTC.
    berlin("30 2 * * *", "2026-03-28T02:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    berlin(
        "*/20 2 * * *",
        "2026-03-28T02:00:00Z",
        &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"],
    );
    berlin("0 3 * * *", "2026-03-28T03:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"]);
    berlin("30 * * * *", "2026-03-29T00:00:00Z", &["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"]);
    // From 03:00 to 02:00 at 01:00 UTC.
    berlin("30 2 * * *", "2026-10-24T10:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    berlin("0 3 * * *", "2026-10-24T10:00:00Z", &["2026-10-25T02:00:00Z", "2026-10-26T02:00:00Z"]);
    berlin("30 2 * * *", "2026-10-25T01:10:00Z", &["2026-10-26T01:30:00Z"]);
    berlin(
        "30 * * * *",
        "2026-10-25T00:00:00Z",
        &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"],
    );
    // Where a whole day is left out, and where clocks are changed by half an hour.
    check(
        ("0 12 30 12 *", Some("Pacific/Apia")),
        "2010-12-31T00:00:00Z",
        &["2011-12-30T10:00:00Z"],
    );
    let lord_howe = ("15 2 * * *", Some("Australia/Lord_Howe"));
    check(lord_howe, "2026-10-03T00:00:00Z", &["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]);
    check(
        ("0 9 * * *", Some("america/new_york")),
        "2045-07-01T00:00:00Z",
        &["2045-07-01T13:00:00Z"],
    );
}

#[test]
fn a_schedule_that_cannot_be_says_what_is_wrong() {
    let check = |schedule: &str, zone, says: &str| {
        let problem = Schedule::new(schedule, zone).unwrap_err().to_string();
        assert!(problem.contains(says), "{problem}");
    };
    check("* * * *", None, "has 4 fields");
    check("", None, "has 0 fields");
    check("60 * * * *", None, "`60` is no minute of a schedule: there are numbers from 0 to 59");
    check("* * 0 * *", None, "from 1 to 31");
    check("* * L * *", None, "day of the month");
    check("* * * foo *", None, "names from jan to dec");
    check("* * * * 1#2", None, "day of the week");
    check("*/0 * * * *", None, "a step is a number from 1 on");
    check("5-1 * * * *", None, "ends before it begins");
    check("+5 * * * *", None, "`+5`");
    check("1,, * * * *", None, "``");
    check("@reboot", None, "@hourly");
    check("0 0 30 feb *", None, "never comes");
    check("* * * * *", Some("Mars/Olympus"), "`Mars/Olympus` is no time zone");
    check(&"* ".repeat(200), None, "longer than");
}

fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
    let range = (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
    let item = prop_oneof![
        3 => Just("*".to_owned()),
        1 => (1..=max).prop_map(|step| format!("*/{step}")),
        2 => (min..=max).prop_map(|number| number.to_string()),
        1 => range,
    ];
    prop::collection::vec(item, 1..3).prop_map(|items| items.join(","))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Asked minute by minute, a schedule says the same as when it is asked for the next time.
    #[test]
    fn nothing_lies_between_now_and_the_next_time(
        minute in field(0, 59), hour in field(0, 23), weekday in field(0, 7),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu"]),
        // Around the change of clocks of March.
        start in 1_774_656_000_i32..1_774_915_200,
    ) {
        let schedule = Schedule::new(&format!("{minute} {hour} * * {weekday}"), Some(zone)).unwrap();
        let start = Timestamp::from_seconds(start);
        let next = schedule.next(start).unwrap();
        prop_assert!(next > start);
        prop_assert_eq!(next.as_micros() % 60_000_000, 0);
        let mut between = start;
        for _ in 0..200 {
            between = between.plus(std::time::Duration::from_secs(61));
            let expected = if between < next { Some(next) } else { None };
            let found = schedule.next(between).unwrap();
            prop_assert_eq!(expected.unwrap_or(found), found);
            if expected.is_none() {
                break;
            }
        }
        let local = jiff::Timestamp::from_microsecond(next.as_micros()).unwrap()
            .to_zoned(jiff::tz::TimeZone::get(zone).unwrap());
        let fields = fields::Fields::parse(&format!("{minute} {hour} * * {weekday}")).unwrap();
        let is_gap_end = zone == "Europe/Berlin" && next == at("2026-03-29T01:00:00Z");
        let shown = fields.minutes.has(local.minute()) && fields.hours.has(local.hour());
        prop_assert!(shown || is_gap_end, "{}", local);
    }
}

fn definition() -> Definition {
    let Value::Object(payload) = json!({"input": {"a": 1}, "webhook": "x"}) else { panic!() };
    Definition {
        assistant: "agent".to_owned(),
        thread: None,
        user: None,
        schedule: "0 * * * *".to_owned(),
        timezone: None,
        payload,
        metadata: Map::new(),
        end: None,
        enabled: true,
    }
}

#[test]
fn nothing_comes_at_the_end_or_when_it_is_disabled() {
    let check = |end: Option<&str>, enabled, expected: Option<&str>| {
        let definition = Definition { end: end.map(at), enabled, ..definition() };
        let next = definition.check().unwrap().next(at("2026-01-31T08:30:00Z"));
        assert_eq!(next, expected.map(at));
    };
    check(None, true, Some("2026-01-31T09:00:00Z"));
    check(Some("2026-01-31T09:00:01Z"), true, Some("2026-01-31T09:00:00Z"));
    check(Some("2026-01-31T09:00:00Z"), true, None);
    check(None, false, None);
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let check = |definition: Definition, says: &str| {
        let problem = definition.check().unwrap_err().to_string();
        assert!(problem.contains(says), "{problem}");
    };
    check(Definition { assistant: String::new(), ..definition() }, "`assistant_id` is empty");
    check(Definition { thread: Some("x".repeat(256)), ..definition() }, "`thread_id`");
    let large = Map::from_iter([("x".to_owned(), json!("y".repeat(DEFINITION_BYTES_MAX)))]);
    check(Definition { payload: large, ..definition() }, "keep it within");
    assert!(NewCron::new(String::new(), definition(), at("2026-01-31T08:30:00Z")).is_err());
}
