use std::sync::Arc;

use super::*;
use crate::strategy::Strategy;
use crate::{Ask, Member, Mode, Settings, Targets, Vitals};

/// A pool that has answered so many calls, each with its first token after a second.
fn pool(start: Instant, calls: usize) -> Pool {
    let member = Member {
        vitals: Arc::new(Vitals::new(Settings::default(), start)),
        weight: 1,
        id: 0,
        model: 0,
    };
    let pool = Pool::new(Strategy::PeakEwma, vec![member]).unwrap();
    for _ in 0..calls {
        let ask = Ask {
            mode: Mode::Streamed,
            affinity: None,
            tried: Targets::NONE,
            has_resort: false,
            random: 0,
        };
        let picked = pool.pick(start, ask).unwrap();
        picked.succeed(start + Duration::from_secs(1));
    }
    pool
}

#[test]
fn a_second_target_is_asked_after_the_95th_percentile_once_that_is_known() {
    let start = Instant::now();
    let later = start + Duration::from_secs(2);
    assert_eq!(Hedge::new(start).after(&pool(start, 19), later), None);
    let after = Hedge::new(start).after(&pool(start, 20), later).unwrap();
    assert!((0.95..1.05).contains(&after.as_secs_f64()), "{after:?}");
}

#[test]
fn the_percentile_is_renewed_every_second() {
    let start = Instant::now();
    let hedge = Hedge::new(start);
    assert_eq!(hedge.after(&pool(start, 0), start), None);
    assert_eq!(hedge.after(&pool(start, 20), start + Duration::from_millis(900)), None);
    assert!(hedge.after(&pool(start, 20), start + Duration::from_secs(1)).is_some());
}

#[test]
fn no_more_than_two_of_a_hundred_calls_are_hedged() {
    let start = Instant::now();
    let (hedge, pool) = (Hedge::new(start), pool(start, 20));
    let mut hedged = 0;
    for call in 1..=10_000 {
        hedge.after(&pool, start);
        hedged += usize::from(hedge.spend());
        assert!(hedged * 50 <= call, "{hedged} of {call}");
    }
    assert_eq!(hedged, 200);
    // What is saved up is bounded.
    (0..10_000).for_each(|_| _ = hedge.after(&pool, start));
    assert_eq!((0..100).filter(|_| hedge.spend()).count(), 10);
}
