use agentry_core::RunId;

use super::*;

#[test]
fn checkpoints_of_one_millisecond_sort_by_entry_and_place() {
    let salt = Salt::of(RunId::derived(Timestamp::from_millis(1), "thread").own_thread());
    let now = Timestamp::from_millis(1_700_000_000_000);
    let places = [(1, 0), (1, 1), (2, 0), (255, 0), (256, 0), (20_000, 0), (5_000_000, 3)];
    let ids: Vec<_> = places.map(|(seq, index)| salt.checkpoint(now, seq, index)).to_vec();
    assert!(ids.is_sorted(), "{ids:?}");
}

#[test]
fn whatever_differs_about_a_task_makes_another_id() {
    let base = CheckpointId::derived(Timestamp::from_millis(1), "c");
    let task = TaskId { base, ns: "".into(), step: 1, node: "a".into(), slot: 0 };
    let others = [
        TaskId { base: CheckpointId::derived(Timestamp::from_millis(2), "c"), ..task.clone() },
        TaskId { ns: "a".into(), node: "".into(), ..task.clone() },
        TaskId { step: 2, ..task.clone() },
        TaskId { slot: 1, ..task.clone() },
    ];
    for other in others {
        assert_ne!(other.text(), task.text(), "{other:?}");
    }
    assert_ne!(task.question(0), task.question(1));
    assert_eq!(task.question(0).len(), 32);
}
