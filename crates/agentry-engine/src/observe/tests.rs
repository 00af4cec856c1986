use super::*;

#[test]
fn an_execution_names_the_one_before_it_wherever_it_runs() {
    let thread = ThreadId::new(Timestamp::from_seconds(7), [3; 10]);
    let of = |fence| Execution {
        thread,
        fence: Fence(fence),
        tenant: "main".into(),
        graph: "g".into(),
        at: Timestamp::from_seconds(8),
        ready: None,
    };
    assert_eq!(of(1).before(), None);
    assert_eq!(of(5).before(), Some(of(4).span()));
    assert_ne!(of(5).span().id, of(4).span().id);
    assert_ne!(of(5).span().span, of(4).span().span);
}
