use std::collections::HashSet;

use super::*;

#[test]
fn a_key_keeps_its_number_in_every_version() {
    for (key, number) in [
        ("", 0xa706_dd2f_4d19_7e6f),
        ("a", 0x8e77_d7ef_9567_20b5),
        ("session-1", 0xacac_8e00_980e_3579),
        ("a longer key, of some words", 0x2785_8d56_8a16_d8b6),
    ] {
        assert_eq!(affinity(key.as_bytes()), number, "{key}: {:#x}", affinity(key.as_bytes()));
    }
}

#[test]
fn keys_that_are_alike_get_numbers_that_are_not() {
    let numbers: HashSet<u64> =
        (0..100_000).map(|at| affinity(format!("session-{at}").as_bytes()) >> 32).collect();
    assert!(numbers.len() > 99_990, "{} of 100000 differ in their upper half", numbers.len());
}

#[test]
fn the_same_seed_rolls_the_same_numbers_evenly() {
    let roll = |seed| {
        let dice = Dice::new(seed);
        (0..60_000).map(|_| below(dice.roll(), 6)).collect::<Vec<_>>()
    };
    assert_eq!(roll(7), roll(7));
    assert_ne!(roll(7), roll(8));
    for face in 0..6 {
        let count = roll(7).iter().filter(|&&rolled| rolled == face).count();
        assert!((9_500..10_500).contains(&count), "{face} came {count} times of 10000");
    }
}
