use super::*;

#[test]
fn a_period_ends_when_the_next_begins() {
    let check = |at: &str, per: Per, name: &str, end: Option<&str>| {
        let period = per.period(at.parse().unwrap());
        assert_eq!(period.to_string(), name);
        assert_eq!(period.end(), end.map(|end| end.parse().unwrap()), "{name}");
    };
    check("2026-11-20T17:06:01Z", Per::Day, "2026-11-20", Some("2026-11-21T00:00:00Z"));
    check("2026-12-31T23:59:59.999999Z", Per::Day, "2026-12-31", Some("2027-01-01T00:00:00Z"));
    check("2024-02-29T00:00:00Z", Per::Month, "2024-02", Some("2024-03-01T00:00:00Z"));
    check("2026-12-01T00:00:00Z", Per::Month, "2026-12", Some("2027-01-01T00:00:00Z"));
    check("2026-12-01T00:00:00Z", Per::Total, "total", None);
}

#[test]
fn accounts_of_different_tenants_never_share_a_name() {
    let user = |tenant, user| Scope::User { tenant, user }.to_string();
    assert_eq!(user("main", "ada"), "user:main/ada");
    assert_eq!(user("a/b", "c"), "user:a%2Fb/c");
    assert_ne!(user("a/b", "c"), user("a", "b/c"));
    assert_ne!(user("a%2Fb", "c"), user("a/b", "c"));
    assert_eq!(Scope::Tenant { tenant: "100%" }.to_string(), "tenant:100%25");
}

#[test]
fn a_grant_is_enough_or_nothing_and_shrinks_as_the_cap_comes_nearer() {
    let check = |need: i64, want: i64, free: i64, granted: i64| {
        let holder = Holder { instance: "i".into(), life: "1".into() };
        let slice = SliceId { account: "a".into(), period: Period::TOTAL, holder };
        let (now, expires) = (Timestamp::from_seconds(0), Timestamp::from_seconds(1));
        let ask = Ask {
            slice,
            cap: MicroUsd(1_000),
            need: MicroUsd(need),
            want: MicroUsd(want),
            now,
            expires,
        };
        assert_eq!(ask.share_of(MicroUsd(free)), MicroUsd(granted), "{need} {want} {free}");
    };
    check(10, 100, 1_000, 100);
    check(10, 100, 400, 50);
    check(10, 100, 10, 10);
    check(10, 100, 9, 0);
    check(0, 100, 8, 1);
    check(0, 0, 8, 0);
    check(0, 100, -5, 0);
    check(20, 10, 1_000, 20);
}
