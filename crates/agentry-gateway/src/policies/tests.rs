use std::time::Duration;

use agentry_backends::memory::MemoryStore;
use agentry_core::ledger::{Holder, Per};
use agentry_core::{Clock, MicroUsd};
use agentry_testkit::FakeClock;

use super::*;
use crate::money::{self, Event, Watcher};

struct Deaf;

impl Watcher for Deaf {
    fn happened(&self, _: &Event<'_>) {}
}

async fn books(rules: &[(&str, Whose)]) -> Policies {
    let clock: Arc<dyn Clock> = Arc::new(FakeClock::default());
    let holder = Holder { instance: "one".into(), life: "1".into() };
    let settings = money::Settings { drain: Duration::ZERO, ..money::Settings::new(holder) };
    let ledger = Arc::new(MemoryStore::new());
    let (budgets, usage, _) = money::open(ledger, clock, Arc::new(Deaf), settings).await.unwrap();
    let limits = vec![Limit { per: Per::Day, cap: MicroUsd(1) }];
    let rule = |(tenant, whose): &(&str, Whose)| Rule {
        tenant: (*tenant).to_owned(),
        whose: whose.clone(),
        limits: limits.clone(),
    };
    let rules = rules.iter().map(rule).collect();
    Policies { books: Some(Books { budgets, usage, rules }), ..Policies::default() }
}

#[tokio::test]
async fn a_call_counts_against_every_rule_that_is_for_it() {
    let named = |name: &str| Some(name.to_owned());
    let policies = books(&[
        ("main", Whose::Tenant),
        ("main", Whose::Team(None)),
        ("main", Whose::Team(named("red"))),
        ("main", Whose::User(None)),
        ("main", Whose::Session),
        ("main", Whose::Run),
        ("other", Whose::Tenant),
    ])
    .await;
    let check = |(team, user): (Option<&str>, Option<&str>), session: bool, expected: &[&str]| {
        let caller = Caller {
            team: team.map(Into::into),
            user: user.map(Into::into),
            ..Caller::named("ci")
        };
        let caller = Arc::new(caller);
        let mut cx = CallContext::of(Arc::clone(&caller), "1", "test");
        cx.session = session.then(|| "s".into());
        cx.run = session.then(|| "r".into());
        let accounts =
            Allowance::new(&policies, &caller).accounts(policies.books.as_ref().unwrap(), &cx);
        let names: Vec<&str> = accounts.iter().map(|account| account.name()).collect();
        assert_eq!(names, expected, "{team:?} {user:?} {session}");
    };
    check((None, None), false, &["tenant:main"]);
    // Once, by the rule that names it.
    check((Some("red"), None), false, &["tenant:main", "team:main/red"]);
    check((Some("blue"), Some("ann")), false, &["tenant:main", "team:main/blue", "user:main/ann"]);
    check((None, None), true, &["tenant:main", "session:main/s", "run:main/r"]);
}
