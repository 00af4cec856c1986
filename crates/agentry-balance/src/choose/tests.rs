use proptest::prelude::*;

use super::*;
use crate::dice::Dice;

fn counts(targets: usize, picks: usize, mut pick: impl FnMut() -> usize) -> Vec<usize> {
    let mut counts = vec![0; targets];
    for _ in 0..picks {
        counts[pick()] += 1;
    }
    counts
}

fn all(count: usize) -> Targets {
    Targets::first(count)
}

#[test]
fn taking_turns_skips_nobody_who_is_open() {
    let open: Targets = [1, 4, 6].into_iter().collect();
    let picked: Vec<_> = (0..6).filter_map(|turn| nth(open, turn)).collect();
    assert_eq!(picked, [1, 4, 6, 1, 4, 6]);
    assert_eq!(nth(Targets::NONE, 3), None);
}

#[test]
fn weighted_turns_come_evenly_spread() {
    let weights = [5, 1, 1];
    let mut credits = [0; 3];
    let picked: Vec<_> =
        (0..7).filter_map(|_| smooth(all(3), &mut credits, |target| weights[target])).collect();
    assert_eq!(picked, [0, 0, 1, 0, 2, 0, 0]);
    assert_eq!(credits, [0; 3]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn weighted_turns_give_each_exactly_its_weight(weights in prop::collection::vec(1..20_u32, 1..10)) {
        let round: u32 = weights.iter().sum();
        let mut credits = vec![0; weights.len()];
        for _ in 0..3 {
            let counts = counts(weights.len(), round as usize, || {
                smooth(all(weights.len()), &mut credits, |target| weights[target]).unwrap()
            });
            prop_assert_eq!(counts, weights.iter().map(|&weight| weight as usize).collect::<Vec<_>>());
        }
    }

    #[test]
    fn chance_follows_the_weights(seed: u64, weights in prop::collection::vec(1..9_u32, 1..6)) {
        let dice = Dice::new(seed);
        let total: u32 = weights.iter().sum();
        let counts = counts(weights.len(), 5_000, || {
            weighted(all(weights.len()), dice.roll(), |target| weights[target]).unwrap()
        });
        for (count, weight) in counts.into_iter().zip(weights) {
            let expected = 5_000.0 * f64::from(weight) / f64::from(total);
            let deviation = (count as f64 - expected).abs();
            prop_assert!(deviation < 6.0 * expected.sqrt().max(10.0), "{count} for {expected}");
        }
    }

    #[test]
    fn the_dearest_of_several_is_never_the_better_of_two(seed: u64, targets in 2..20_usize) {
        let dice = Dice::new(seed);
        for _ in 0..100 {
            let picked = two_choices(all(targets), dice.roll(), |_| 1, |target| target as f64);
            prop_assert!(picked.is_some_and(|picked| picked < targets - 1));
        }
    }

    #[test]
    fn a_new_target_takes_its_share_of_keys_and_no_other_key_moves(
        ids in prop::collection::hash_set(any::<u64>(), 2..20),
        seed: u64,
    ) {
        const KEYS: usize = 1_000;
        let ids: Vec<u64> = ids.into_iter().collect();
        let (before, after) = (ids.len() - 1, ids.len());
        let of = |target: usize| Hashed { id: ids[target], weight: 1, in_flight: 0 };
        let dice = Dice::new(seed);
        let mut moved = 0;
        for _ in 0..KEYS {
            let key = dice.roll();
            let (old, new) = (hashed(all(before), key, of), hashed(all(after), key, of));
            if old != new {
                moved += 1;
                prop_assert_eq!(new, Some(before), "a key moved between targets that stayed");
            }
        }
        let share = KEYS as f64 / after as f64;
        prop_assert!(f64::from(moved) < share + 6.0 * share.sqrt(), "{moved} of {KEYS} moved, {after} targets");
    }

    #[test]
    fn nobody_gets_more_than_its_bounded_share(
        loads in prop::collection::vec(0..200_u32, 1..20),
        key: u64,
    ) {
        let of = |target: usize| Hashed { id: target as u64, weight: 1, in_flight: loads[target] };
        let picked = hashed(all(loads.len()), key, of).unwrap();
        let calls = f64::from(loads.iter().sum::<u32>()) + 1.0;
        prop_assert!(f64::from(loads[picked] + 1) <= (1.25 * calls / loads.len() as f64).ceil());
    }
}

#[test]
fn hashed_keys_follow_the_weights() {
    let weights = [1, 2, 5];
    let dice = Dice::new(3);
    let of = |target: usize| Hashed { id: target as u64, weight: weights[target], in_flight: 0 };
    let counts = counts(3, 16_000, || hashed(all(3), dice.roll(), of).unwrap());
    for (count, weight) in counts.into_iter().zip(weights) {
        let expected = 2_000.0 * f64::from(weight);
        assert!((count as f64 / expected - 1.0).abs() < 0.1, "{count} for {expected}");
    }
}

#[test]
fn the_cheapest_is_taken_and_of_equals_each_by_its_weight() {
    assert_eq!(least(all(3), 0, |_| 1, |target| [3.0, 1.0, 2.0][target]), Some(1));
    assert_eq!(least(Targets::NONE, 0, |_| 1, |_| 0.0), None);
    let dice = Dice::new(1);
    let counts = counts(4, 8_000, || {
        least(
            all(4),
            dice.roll(),
            |target| [1, 1, 2, 1][target],
            |target| [1.0, 2.0, 1.0, 1.0][target],
        )
        .unwrap()
    });
    for (count, expected) in counts.into_iter().zip([2_000.0, 0.0, 4_000.0, 2_000.0]) {
        assert!((count as f64 - expected).abs() <= expected * 0.1, "{count} for {expected}");
    }
}
