use agentry_core::chat::{FinishReason, Usage};
use agentry_core::relay::{Frame, Marks};
use proptest::prelude::*;

use super::*;
use crate::chat::Reader;

const TEXT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"usage \\\"error\\\": ü\"},\"finish_reason\":null}],\"usage\":null}\r\n\r\n";
const END: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const BILL: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// Everything that passes, the marks put together, and how it ended.
type Seen = (String, Marks, Option<ModelError>);

fn run<'a>(withholds_usage: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut tap = Tap::new(Reader::new(1, withholds_usage));
    let mut frames = Vec::new();
    let mut error = None;
    for piece in pieces {
        if error.is_none() && !tap.is_over() {
            error = tap.push(Bytes::copy_from_slice(piece), &mut frames).err();
        }
    }
    if error.is_none() && !tap.is_over() {
        match tap.end(None) {
            Ok(frame) => frames.push(frame),
            Err(cut) => error = Some(cut),
        }
    }
    let mut passed = Vec::new();
    let mut marks = Marks::default();
    for Frame { bytes, marks: Marks { says, usage, finish, done } } in frames {
        assert!(!marks.done, "something after the end");
        passed.extend_from_slice(&bytes);
        marks.usage = usage.or(marks.usage);
        marks.finish = worse(marks.finish.take(), finish);
        marks.done |= done;
        marks.says |= says;
    }
    (String::from_utf8(passed).unwrap(), marks, error)
}

fn usage() -> Usage {
    serde_json::from_str(r#"{"prompt_tokens":3,"completion_tokens":2}"#).unwrap()
}

fn said() -> Marks {
    Marks { says: true, ..Marks::default() }
}

fn done(billed: bool) -> Marks {
    let usage = billed.then(|| Box::new(usage()));
    Marks { says: true, usage, finish: Some(FinishReason::Stop), done: true }
}

#[test]
fn a_stream_passes_as_it_is_and_tells_what_it_cost() {
    let input = [TEXT, TEXT, END, BILL, DONE].concat();
    assert_eq!(run(false, [input.as_bytes()]), (input.clone(), done(true), None));
}

#[test]
fn a_bill_that_only_we_asked_for_is_withheld() {
    let input = [TEXT, END, BILL, DONE].concat();
    assert_eq!(run(true, [input.as_bytes()]), ([TEXT, END, DONE].concat(), done(true), None));
}

#[test]
fn a_stream_that_lacks_only_its_last_word_is_complete() {
    let input = [TEXT, END].concat();
    let told = input.clone() + DONE;
    assert_eq!(run(false, [input.as_bytes()]), (told.clone(), done(false), None));
    let unclosed = input.trim_end();
    assert_eq!(run(false, [unclosed.as_bytes()]), (told, done(false), None));
}

#[test]
fn a_cut_stream_is_truncated_and_nothing_half_passes() {
    let input = [TEXT, TEXT].concat();
    let cut = input.get(..input.len() - 9).unwrap();
    assert_eq!(
        run(false, [cut.as_bytes()]),
        (TEXT.to_owned(), said(), Some(ModelError::Truncated))
    );
}

#[test]
fn an_error_event_ends_the_stream_and_does_not_pass() {
    let broke = ModelError::BrokeOff { message: "full".to_owned() };
    let named = "event: error\ndata: {\"error\":{\"message\":\"full\"}}\n\n";
    let inline = "data: {\"error\":{\"message\":\"full\"}}\n\n";
    for error in [named, inline] {
        let input = [TEXT, error, TEXT].concat();
        assert_eq!(run(false, [input.as_bytes()]), (TEXT.to_owned(), said(), Some(broke.clone())));
    }
}

#[test]
fn comments_and_several_data_lines_pass() {
    let input = [
        ": hello\n\ndata: {\"choices\":[{\"index\":0,\ndata: \"finish_reason\":\"stop\"}]}\n\n",
        DONE,
    ]
    .concat();
    assert_eq!(run(false, [input.as_bytes()]), (input.clone(), done(false), None));
}

proptest! {
    #[test]
    fn any_split_passes_the_same(cuts in prop::collection::vec(0_usize..700, 0..8), withholds: bool, end in 0_usize..5) {
        let all = [TEXT, ": ping\n\n", END, BILL, DONE];
        let input = all.get(..=end).unwrap().concat();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &input.as_bytes()[cut[0]..cut[1]]);
        prop_assert_eq!(run(withholds, pieces), run(withholds, [input.as_bytes()]));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}\",:a-z0-9]{0,60}") {
        let framed = [b"data: ".as_slice(), &bytes, b"\n\n"].concat();
        let guessed = format!("data: {{\"choices\":{text},\"usage\":{text}}}\n\n");
        for input in [bytes.as_slice(), framed.as_slice(), guessed.as_bytes()] {
            let mut tap = Tap::new(Reader::new(1, true));
            let mut frames = Vec::new();
            if tap.push(Bytes::copy_from_slice(input), &mut frames).is_ok() && !tap.is_over() {
                let _ = tap.end(None);
            }
            prop_assert!(tap.is_over());
        }
    }
}

#[test]
fn whose_turn_it_is_says_nothing_yet() {
    let role = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let cut = Some(ModelError::Truncated);
    for head in [role, ": ping\n\n"] {
        assert_eq!(run(false, [head.as_bytes()]), (head.to_owned(), Marks::default(), cut.clone()));
        let input = [head, TEXT].concat();
        assert_eq!(run(false, [input.as_bytes()]), (input.clone(), said(), cut.clone()));
    }
}

#[test]
fn a_long_event_in_small_pieces_is_read_once() {
    let text = "x".repeat(4 << 20);
    let event = format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":\"stop\"}}]}}\r\n\r\n{DONE}"
    );
    let (passed, marks, error) = run(false, event.as_bytes().chunks(64));
    assert!(passed == event && error.is_none());
    assert_eq!(marks, Marks { finish: Some(FinishReason::Stop), ..done(false) });
}
