use proptest::prelude::*;

use super::*;
use crate::Condition;
use crate::blame::Blame;
use crate::dice::Dice;
use crate::health::Checked;
use crate::limit::LimitSettings;
use crate::strategy::Strategy;
use crate::vitals::{Circuit, Settings};

const BROKEN: Blame = Blame::Target { retry_after: None };

struct Bench {
    pool: Pool,
    start: Instant,
    dice: Dice,
}

impl Bench {
    fn new(strategy: Strategy, targets: usize) -> Self {
        Self::weighted(strategy, &vec![1; targets])
    }

    fn weighted(strategy: Strategy, weights: &[u32]) -> Self {
        let start = Instant::now();
        let members = weights.iter().enumerate().map(|(target, &weight)| Member {
            vitals: Arc::new(Vitals::new(Settings::default(), start)),
            weight,
            id: crate::affinity(&target.to_le_bytes()),
            model: target as u64 / 2,
        });
        let pool = Pool::new(strategy, members.collect()).unwrap();
        Self { pool, start, dice: Dice::new(7) }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn ask(&self) -> Ask {
        let random = self.dice.roll();
        Ask {
            mode: Mode::Streamed,
            affinity: None,
            tried: Targets::NONE,
            has_resort: false,
            random,
        }
    }

    fn pick(&self, seconds: f64) -> Result<Picked, Nobody> {
        self.pool.pick(self.at(seconds), self.ask())
    }

    /// Asks this one and no other.
    fn pick_only(&self, seconds: f64, target: usize) -> Result<Picked, Nobody> {
        let tried = self.pool.all().without(Targets::one(target));
        self.pool.pick(self.at(seconds), Ask { tried, ..self.ask() })
    }

    fn fail(&self, seconds: f64, target: usize, times: usize, blame: Blame) {
        for _ in 0..times {
            self.pick_only(seconds, target).unwrap().fail(self.at(seconds), blame);
        }
    }

    /// As often good as bad, which makes an outlier.
    fn misbehave(&self, seconds: f64, target: usize) {
        for _ in 0..10 {
            self.pick_only(seconds, target).unwrap().succeed(self.at(seconds));
            self.pick_only(seconds, target).unwrap().fail(self.at(seconds), BROKEN);
        }
    }

    /// How often each is picked when every call succeeds at once.
    fn shares(&self, seconds: f64, picks: usize) -> Vec<usize> {
        let mut shares = vec![0; self.pool.members().len()];
        for _ in 0..picks {
            let picked = self.pick(seconds).unwrap();
            shares[picked.target()] += 1;
            picked.succeed(self.at(seconds));
        }
        shares
    }

    fn circuits(&self, seconds: f64) -> Vec<Circuit> {
        let now = self.at(seconds);
        self.pool.members().iter().map(|member| member.vitals.snapshot(now).circuit).collect()
    }
}

const CLOSED: Circuit = Circuit::Closed;
const OPEN: Circuit = Circuit::Open(Cause::Failing);
const EJECTED: Circuit = Circuit::Open(Cause::Outlier);

#[test]
fn a_pool_that_cannot_work_is_refused() {
    let member = |weight| Member {
        vitals: Arc::new(Vitals::new(Settings::default(), Instant::now())),
        weight,
        id: 0,
        model: 0,
    };
    let new = |members| Pool::new(Strategy::PeakEwma, members).map(|_| ());
    assert_eq!(new(vec![]), Err(Unusable::Empty));
    assert_eq!(new(vec![member(1); 65]), Err(Unusable::TooMany(65)));
    assert_eq!(new(vec![member(1), member(0)]), Err(Unusable::Weightless(1)));
    assert_eq!(new(vec![member(1); 64]), Ok(()));
}

#[test]
fn every_strategy_uses_all_targets_that_are_well() {
    for strategy in Strategy::ALL {
        let bench = Bench::new(strategy, 4);
        for (target, share) in bench.shares(0.0, 4_000).into_iter().enumerate() {
            assert!((800..1_200).contains(&share), "{strategy}: {share} for {target}");
        }
        bench.fail(1.0, 2, 5, BROKEN);
        let shares = bench.shares(1.5, 3_000);
        assert_eq!(shares[2], 0, "{strategy}");
        for share in [shares[0], shares[1], shares[3]] {
            assert!((800..1_200).contains(&share), "{strategy}: {shares:?}");
        }
    }
}

#[test]
fn weights_are_shares() {
    for strategy in Strategy::ALL.into_iter().filter(|strategy| *strategy != Strategy::RoundRobin) {
        let shares = Bench::weighted(strategy, &[1, 3]).shares(0.0, 4_000);
        assert!((850..=1_150).contains(&shares[0]), "{strategy}: {shares:?}");
    }
}

#[test]
fn whoever_has_less_under_way_is_asked() {
    for strategy in [Strategy::LeastConnections, Strategy::LeastResponseTime, Strategy::PeakEwma] {
        let bench = Bench::weighted(strategy, &[1, 2]);
        let held: Vec<_> = (0..30).map(|_| bench.pick(0.0).unwrap()).collect();
        let on_first = held.iter().filter(|picked| picked.target() == 0).count();
        assert_eq!(on_first, 10, "{strategy}");
    }
}

#[test]
fn whoever_is_slow_to_begin_is_asked_less() {
    let bench = Bench::new(Strategy::PeakEwma, 2);
    for target in [0, 1] {
        let mut picked = bench.pick_only(0.0, target).unwrap();
        picked.first_token(bench.at(if target == 0 { 4.0 } else { 0.5 }));
    }
    assert_eq!(bench.shares(4.0, 100), [0, 100]);
    // Answers that come whole are not compared with first tokens.
    let whole = Ask { mode: Mode::Whole, ..bench.ask() };
    let held: Vec<_> =
        (0..10).map(|_| bench.pool.pick(bench.at(4.0), whole).unwrap().target()).collect();
    assert!(held.contains(&0) || held.contains(&1));
    let mean = Ask { mode: Mode::Whole, ..whole };
    bench
        .pool
        .pick(bench.at(4.0), Ask { tried: Targets::one(0), ..mean })
        .unwrap()
        .succeed(bench.at(9.0));
    for random in 0..20 {
        let picked = bench.pool.pick(bench.at(9.0), Ask { random, ..whole }).unwrap();
        assert_eq!(picked.target(), 0);
    }
}

#[test]
fn whoever_fails_fast_does_not_look_fast() {
    let bench = Bench::new(Strategy::PeakEwma, 2);
    for target in [0, 1] {
        let mut picked = bench.pick_only(0.0, target).unwrap();
        picked.first_token(bench.at(1.0));
    }
    let expected = || bench.pool.vitals(0).unwrap().expected(bench.at(1.0), Mode::Streamed);
    let before = expected();
    bench.fail(1.0, 0, 4, BROKEN);
    assert!((expected() - before).abs() < 1e-9);
}

#[test]
fn what_has_an_affinity_stays_until_its_target_has_too_much_to_do() {
    let bench = Bench::new(Strategy::ConsistentHash, 4);
    let ask = Ask { affinity: Some(42), ..bench.ask() };
    let home = bench.pool.pick(bench.start, ask).unwrap().target();
    for _ in 0..100 {
        assert_eq!(bench.pool.pick(bench.start, bench.ask_for(42)).unwrap().target(), home);
    }
    let held: Vec<_> =
        (0..40).map(|_| bench.pool.pick(bench.start, bench.ask_for(42)).unwrap()).collect();
    let at_home = held.iter().filter(|picked| picked.target() == home).count();
    assert!((10..=13).contains(&at_home), "{at_home} of 40 at home");
}

impl Bench {
    fn ask_for(&self, key: u64) -> Ask {
        Ask { affinity: Some(key), ..self.ask() }
    }
}

#[test]
fn a_broken_target_is_probed_and_comes_back() {
    let bench = Bench::new(Strategy::RoundRobin, 2);
    bench.fail(0.0, 0, 4, BROKEN);
    let fifth = bench.pick_only(0.0, 0).unwrap();
    assert_eq!(fifth.fail(bench.start, BROKEN), Some(Cause::Failing));
    assert_eq!(bench.pool.vitals(0).unwrap().shut(), Some(Cause::Failing));
    assert_eq!(bench.circuits(0.5), [OPEN, CLOSED]);
    let mut probe = bench.pick(1.0).unwrap();
    assert!(probe.is_probe() && probe.target() == 0);
    // One at a time.
    assert!((0..10).all(|_| bench.pick(1.0).unwrap().target() == 1));
    assert_eq!(bench.circuits(1.0), [Circuit::HalfOpen(Cause::Failing), CLOSED]);
    // The first token is proof enough; the answer may take minutes.
    probe.first_token(bench.at(1.2));
    let second = bench.pick(1.2).unwrap();
    assert!(second.is_probe());
    second.succeed(bench.at(1.3));
    assert_eq!(bench.circuits(1.3), [CLOSED, CLOSED]);
    assert_eq!(bench.pool.vitals(0).unwrap().shut(), None);
    assert_eq!(bench.shares(1.3, 100), [50, 50]);
}

#[test]
fn a_call_that_failed_once_is_no_probe_while_somebody_is_well() {
    let bench = Bench::new(Strategy::RoundRobin, 3);
    bench.fail(0.0, 0, 5, BROKEN);
    let again = Ask { tried: Targets::one(1), ..bench.ask() };
    assert_eq!(bench.pool.pick(bench.at(2.0), again).unwrap().target(), 2);
    let last = Ask { tried: [1, 2].into_iter().collect(), ..bench.ask() };
    assert!(bench.pool.pick(bench.at(2.0), last).unwrap().is_probe());
}

#[test]
fn a_dead_pool_fails_fast_and_says_until_when() {
    let bench = Bench::new(Strategy::PeakEwma, 1);
    bench.fail(0.0, 0, 5, BROKEN);
    let nobody = bench.pick(0.25).unwrap_err();
    assert_eq!(
        nobody,
        Nobody { after: Duration::from_millis(750), why: Why::Shut(Cause::Failing) }
    );
    assert!(bench.pick(1.0).unwrap().is_probe());
}

#[test]
fn an_outlier_is_left_alone_but_never_the_last_one() {
    let bench = Bench::new(Strategy::RoundRobin, 2);
    bench.misbehave(0.0, 0);
    bench.misbehave(0.0, 1);
    assert_eq!(bench.circuits(0.0), [EJECTED, CLOSED]);
    assert_eq!(bench.shares(0.0, 10), [0, 10]);
}

#[test]
fn while_half_are_well_they_do_the_work() {
    let bench = Bench::new(Strategy::RoundRobin, 4);
    bench.misbehave(0.0, 0);
    bench.misbehave(0.0, 1);
    assert_eq!(bench.shares(0.0, 100), [0, 0, 50, 50]);
}

#[test]
fn when_most_are_outliers_all_are_asked() {
    let bench = Bench::new(Strategy::RoundRobin, 4);
    for target in 0..3 {
        bench.misbehave(0.0, target);
    }
    assert_eq!(bench.circuits(0.0), [EJECTED, EJECTED, EJECTED, CLOSED]);
    assert_eq!(bench.shares(0.0, 100), [25, 25, 25, 25]);
}

#[test]
fn an_outlier_is_asked_where_it_is_alone() {
    let bench = Bench::new(Strategy::RoundRobin, 2);
    bench.misbehave(0.0, 0);
    let alone = Pool::new(Strategy::RoundRobin, vec![bench.pool.members()[0].clone()]).unwrap();
    assert_eq!(alone.pick(bench.start, bench.ask()).unwrap().target(), 0);
}

#[test]
fn a_probe_that_proves_nothing_is_repeated_after_a_while() {
    for (blame, next) in [
        (Blame::Caller, 2.0),
        (Blame::NoModel, 2.0),
        (Blame::Throttled { retry_after: None }, 3.0),
        (BROKEN, 3.0),
    ] {
        let bench = Bench::new(Strategy::RoundRobin, 2);
        bench.fail(0.0, 0, 5, BROKEN);
        let probe = bench.pick(1.0).unwrap();
        assert!(probe.is_probe());
        probe.fail(bench.at(1.0), blame);
        assert!(!bench.pick(next - 0.01).unwrap().is_probe(), "{blame:?}");
        assert!(bench.pick(next).unwrap().is_probe(), "{blame:?}");
    }
    // One that was cancelled says nothing of anybody.
    let bench = Bench::new(Strategy::RoundRobin, 2);
    bench.fail(0.0, 0, 5, BROKEN);
    drop(bench.pick(1.0).unwrap());
    assert!(bench.pick(1.0).unwrap().is_probe());
}

#[test]
fn whoever_wants_to_be_asked_later_gives_way_to_others() {
    let bench = Bench::new(Strategy::RoundRobin, 2);
    bench.fail(0.0, 0, 1, Blame::Target { retry_after: Some(Duration::from_secs(9)) });
    assert_eq!(bench.shares(8.0, 10), [0, 10]);
    assert_eq!(bench.pick_only(8.0, 0).unwrap().target(), 0);
    assert_eq!(bench.shares(9.0, 10), [5, 5]);
}

#[test]
fn whoever_has_too_much_to_do_is_asked_last() {
    let bench = Bench::new(Strategy::RoundRobin, 2);
    bench.fail(0.0, 0, 1, Blame::Throttled { retry_after: None });
    assert_eq!(bench.shares(0.5, 10), [0, 10]);
    // It said nothing of a time, so it is asked when nobody else is left.
    assert_eq!(bench.pick_only(0.5, 0).unwrap().target(), 0);
    assert_eq!(bench.shares(1.0, 10), [5, 5]);

    bench.fail(2.0, 1, 1, Blame::Throttled { retry_after: Some(Duration::from_secs(8)) });
    let nobody = bench.pick_only(3.0, 1).unwrap_err();
    assert_eq!(nobody, Nobody { after: Duration::from_secs(7), why: Why::Throttled });
    assert_eq!(bench.shares(3.0, 10), [10, 0]);
    assert_eq!(bench.shares(10.0, 10), [5, 5]);
}

#[test]
fn a_refused_key_is_not_used_until_a_probe() {
    let bench = Bench::new(Strategy::RoundRobin, 2);
    bench.fail(0.0, 0, 1, Blame::Credentials);
    assert_eq!(bench.shares(19.0, 10), [0, 10]);
    assert!(bench.pick(20.0).unwrap().is_probe());
}

#[test]
fn what_the_caller_did_wrong_is_held_against_nobody() {
    let bench = Bench::new(Strategy::RoundRobin, 1);
    for blame in [Blame::Caller, Blame::NoModel, Blame::ContextLength, Blame::ContentPolicy] {
        bench.fail(0.0, 0, 50, blame);
    }
    let snapshot = bench.pool.vitals(0).unwrap().snapshot(bench.start);
    assert_eq!((snapshot.condition, snapshot.recent_calls), (Condition::Healthy, 0));
    assert_eq!(snapshot.in_flight, 0);
}

#[test]
fn whoever_has_room_is_preferred() {
    let start = Instant::now();
    let limit = Some(LimitSettings { initial: 1, min: 1, max: 1 });
    let member = |limit| Member {
        vitals: Arc::new(Vitals::new(Settings { limit, ..Settings::default() }, start)),
        weight: 1,
        id: 0,
        model: 0,
    };
    let pool = Pool::new(Strategy::RoundRobin, vec![member(limit), member(None)]).unwrap();
    let _permit = pool.vitals(0).unwrap().limiter().unwrap().try_acquire().unwrap();
    let ask = Ask {
        mode: Mode::Whole,
        affinity: None,
        tried: Targets::NONE,
        has_resort: false,
        random: 0,
    };
    assert!((0..10).all(|_| pool.pick(start, ask).unwrap().target() == 1));
}

#[test]
fn an_outlook_tells_who_is_open_and_who_is_the_same_model() {
    let bench = Bench::new(Strategy::RoundRobin, 4);
    bench.fail(0.0, 3, 5, BROKEN);
    assert_eq!(
        bench.pool.outlook(bench.start, 1),
        Outlook {
            failed: 1,
            all: Targets::first(4),
            open: Targets::first(3),
            shut: Targets::one(3),
            same_model: Targets::first(2),
        }
    );
}

/// Something that may happen to a call.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Succeeds,
    Fails(Blame),
    Cancelled,
}

fn fates() -> impl proptest::strategy::Strategy<Value = Vec<(u64, usize, Fate)>> {
    let fate = prop_oneof![
        3 => Just(Fate::Succeeds),
        6 => Just(Fate::Fails(BROKEN)),
        1 => Just(Fate::Fails(Blame::Silent)),
        1 => Just(Fate::Fails(Blame::Credentials)),
        1 => Just(Fate::Fails(Blame::Throttled { retry_after: None })),
        1 => Just(Fate::Cancelled),
    ];
    prop::collection::vec((0..2_000_u64, 0..10_usize, fate), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn never_all_are_ejected_and_nothing_stays_under_way(
        targets in 1..6_usize,
        fates in fates(),
        failures in prop_oneof![Just(5_u32), Just(u32::MAX)],
    ) {
        let start = Instant::now();
        let mut settings = Settings::default();
        settings.health.breaker.failures = failures;
        let members = (0..targets).map(|target| Member {
            vitals: Arc::new(Vitals::new(settings, start)),
            weight: 1,
            id: target as u64,
            model: 0,
        });
        let pool = Pool::new(Strategy::PeakEwma, members.collect()).unwrap();
        let dice = Dice::new(1);
        let (mut now, mut held) = (start, std::collections::VecDeque::new());
        for (passed, hold, fate) in fates {
            now += Duration::from_millis(passed);
            let ask = Ask { mode: Mode::Streamed, affinity: None, tried: Targets::NONE, has_resort: false, random: dice.roll() };
            let picked = pool.pick(now, ask);
            let shut = |cause| {
                let standings = pool.members().iter().map(|member| member.vitals.standing(now));
                let is_shut = |standing: &Standing| {
                    matches!(standing, Standing::Shut(by, _) | Standing::Due(by) if *by == cause)
                };
                standings.filter(is_shut).count()
            };
            let (ejected, failing) = (shut(Cause::Outlier), shut(Cause::Failing) + shut(Cause::Credentials));
            prop_assert!(ejected < targets, "all {targets} are ejected");
            prop_assert!(picked.is_ok() || failing == targets, "nobody, and {failing} of {targets} are broken");
            held.push_back((picked, fate));
            while held.len() > hold {
                match held.pop_front() {
                    Some((Ok(picked), Fate::Succeeds)) => picked.succeed(now),
                    Some((Ok(picked), Fate::Fails(blame))) => _ = picked.fail(now, blame),
                    Some((Ok(_), Fate::Cancelled) | (Err(_), _)) | None => {}
                }
            }
        }
        drop(held);
        prop_assert!(pool.members().iter().all(|member| member.vitals.in_flight() == 0));
    }
}

#[test]
fn threads_lose_no_count() {
    for strategy in Strategy::ALL {
        let bench = Bench::new(strategy, 4);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let bench = &bench;
                scope.spawn(move || {
                    for call in 0..500 {
                        let Ok(mut picked) = bench.pick(f64::from(call) / 100.0) else { continue };
                        let now = bench.at(f64::from(call) / 100.0 + 0.01);
                        match (call + thread) % 7 {
                            0 => _ = picked.fail(now, BROKEN),
                            1 => drop(picked),
                            2 => picked.first_token(now),
                            _ => picked.succeed(now),
                        }
                    }
                });
            }
        });
        let in_flight = bench.pool.members().iter().map(|member| member.vitals.in_flight());
        assert_eq!(in_flight.sum::<u32>(), 0, "{strategy}");
    }
}

/// Who is asked of two, when these do not pass their check.
#[track_caller]
fn check_unseen(unseen: &[usize], has_resort: bool, expected: Option<&[usize]>) {
    let bench = Bench::new(Strategy::RoundRobin, 2);
    for &target in unseen {
        let believed_for = Duration::from_secs(30);
        bench
            .pool
            .vitals(target)
            .unwrap()
            .mark_checked(bench.start, Checked::Down { believed_for });
    }
    let picks = (0..4).map(|_| {
        let picked = bench.pool.pick(bench.at(1.0), Ask { has_resort, ..bench.ask() });
        picked.map(|picked| picked.target())
    });
    let mut picked: Vec<_> = picks.collect();
    picked.sort_by_key(|picked| picked.ok());
    picked.dedup();
    let why = Why::Shut(Cause::Check);
    let expected = match expected {
        Some(targets) => targets.iter().map(|target| Ok(*target)).collect(),
        None => vec![Err(Nobody { after: Duration::from_secs(29), why })],
    };
    assert_eq!(picked, expected);
}

#[test]
fn who_does_not_pass_its_check_is_the_last_to_be_asked() {
    check_unseen(&[], false, Some(&[0, 1]));
    check_unseen(&[0], false, Some(&[1]));
    check_unseen(&[0, 1], false, Some(&[0, 1]));
    check_unseen(&[0, 1], true, None);
}
