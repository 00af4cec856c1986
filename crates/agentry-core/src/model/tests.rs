use futures_util::{FutureExt as _, stream};

use super::*;

fn check(items: Vec<Result<Event, ModelError>>, expected: Result<&str, ModelError>) {
    let collected = collect(stream::iter(items).boxed()).now_or_never().unwrap();
    assert_eq!(collected.map(|response| response.text()), expected.map(ToOwned::to_owned));
}

#[test]
fn an_answer_is_complete_only_with_its_end() {
    let text = |text: &str| Ok(Event::Text { choice: 0, text: text.to_owned() });
    check(vec![text("a"), text("b"), Ok(Event::Done)], Ok("ab"));
    check(vec![text("a"), Ok(Event::Done), text("never read")], Ok("a"));
    check(vec![text("a")], Err(ModelError::Truncated));
    check(vec![], Err(ModelError::Truncated));
    let broken = ModelError::BrokeOff { message: "x".to_owned() };
    check(vec![text("a"), Err(broken.clone()), Ok(Event::Done)], Err(broken));
}
