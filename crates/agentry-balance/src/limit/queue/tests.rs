use proptest::prelude::*;

use super::*;
use Priority::{High, Low, Normal};

fn queue(items: &[(Priority, u64, &'static str)]) -> Queue<&'static str> {
    let mut queue = Queue::default();
    for &(priority, caller, item) in items {
        queue.push(priority, caller, item);
    }
    queue
}

#[track_caller]
fn check_order(items: &[(Priority, u64, &'static str)], expected: &[&str]) {
    let mut queue = queue(items);
    let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
    assert_eq!(order, expected);
    assert!(queue.is_empty());
}

#[test]
fn the_important_go_first_and_callers_take_turns() {
    check_order(&[], &[]);
    check_order(&[(Low, 1, "a"), (High, 1, "b"), (Normal, 1, "c")], &["b", "c", "a"]);
    check_order(
        &[
            (Normal, 1, "a1"),
            (Normal, 1, "a2"),
            (Normal, 1, "a3"),
            (Normal, 2, "b1"),
            (Normal, 3, "c1"),
        ],
        &["a1", "b1", "c1", "a2", "a3"],
    );
}

/// Who gives way to a newcomer.
#[track_caller]
fn check_way(
    items: &[(Priority, u64, &'static str)],
    newcomer: (Priority, u64),
    expected: Option<&str>,
) {
    let mut queue = queue(items);
    assert_eq!(queue.make_way(newcomer.0, newcomer.1), expected);
    let left = items.len() - usize::from(expected.is_some());
    assert_eq!(queue.len(), left);
    assert_eq!(std::iter::from_fn(|| queue.pop()).count(), left);
}

#[test]
fn the_least_important_of_whoever_has_the_most_gives_way() {
    check_way(&[(Normal, 1, "a")], (Normal, 1), None);
    check_way(&[(Normal, 1, "a")], (Low, 2), None);
    check_way(&[(Normal, 1, "a"), (Low, 1, "b"), (Low, 1, "c")], (High, 1), Some("c"));
    check_way(&[(Normal, 1, "a"), (Normal, 1, "b")], (High, 1), Some("b"));
    // Of equals, whoever has more than the newcomer would have.
    check_way(&[(Normal, 1, "a1"), (Normal, 1, "a2"), (Normal, 3, "c")], (Normal, 2), Some("a2"));
    check_way(&[(Normal, 1, "a"), (Normal, 3, "c")], (Normal, 2), None);
    check_way(&[(Normal, 1, "a1"), (Normal, 1, "a2")], (Normal, 1), None);
}

proptest! {
    #[test]
    fn nobody_is_lost_and_nobody_comes_twice(steps in prop::collection::vec((0..4_u8, 0..3_usize, 0..4_u64), 0..200)) {
        let mut queue = Queue::default();
        let mut places = Vec::new();
        let mut out = Vec::new();
        for (number, (step, priority, caller)) in steps.into_iter().enumerate() {
            let priority = Priority::ALL[priority];
            match step {
                0 | 1 => places.push((number, queue.push(priority, caller, number))),
                2 => out.extend(queue.pop()),
                _ => {
                    out.extend(queue.make_way(priority, caller));
                    let place = places.get(number / 2).map(|(_, place)| *place);
                    out.extend(place.and_then(|place| queue.remove(place)));
                }
            }
            prop_assert_eq!(queue.len(), places.len() - out.len());
        }
        out.extend(std::iter::from_fn(|| queue.pop()));
        out.sort_unstable();
        prop_assert_eq!(out, places.into_iter().map(|(number, _)| number).collect::<Vec<_>>());
    }
}
