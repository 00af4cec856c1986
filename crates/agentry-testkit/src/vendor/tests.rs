use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use super::*;

fn ask(vendor: &Vendor, model: &str) -> TcpStream {
    let mut stream = TcpStream::connect(vendor.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = format!("{{\"model\":\"{model}\"}}");
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: vendor\r\nX-Thing: yes\r\n";
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream
}

/// What arrives until the connection ends, and how it ends.
fn rest(mut stream: TcpStream) -> (String, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes).err().map(|error| error.kind());
    (String::from_utf8_lossy(&bytes).into_owned(), ended)
}

fn check(reply: Reply, arrives: &[&str], ended: Option<ErrorKind>) {
    let vendor = Vendor::start(vec![reply.clone()]);
    let (said, how) = rest(ask(&vendor, "m"));
    for part in arrives {
        assert!(said.contains(part), "no {part:?} in {said:?} of {reply:?}");
    }
    assert_eq!(how, ended, "{said:?} of {reply:?}");
}

#[test]
fn a_reply_arrives_as_it_was_scripted() {
    let good = Answer::chat(&["one ", "two"]);
    let cut = |ending| good.stream().stops_after(2, ending);
    check(good.whole().framed(Framing::UntilClose), &["HTTP/1.1 200 ", "one two"], None);
    check(good.stream().stops_after(5, Ending::Close), &["chunked", "\"two\"", "\"stop\""], None);
    check(good.stream().written(Writes::EachByte).stops_after(9, Ending::Close), &["[DONE]"], None);
    check(cut(Ending::Close), &["\"one \""], None);
    check(cut(Ending::Reset), &["\"one \""], Some(ErrorKind::ConnectionReset));
    check(Reply::resets(), &[], Some(ErrorKind::ConnectionReset));
    check(Reply::closes(), &[], None);
    check(Reply::raw("not HTTP at all"), &["not HTTP at all"], None);
    let wrong = good.whole().framed(Framing::WrongLength(7)).stops_after(1, Ending::Close);
    check(wrong, &["content-length: "], None);
    let refused = Reply::error(429).header("retry-after", "1").framed(Framing::UntilClose);
    check(refused, &[" 429 ", "retry-after: 1", "rate_limit_exceeded"], None);
    let overloaded = Reply::anthropic_error(529).framed(Framing::UntilClose);
    check(overloaded, &[" 529 ", "overloaded_error"], None);
    let message = Answer::messages(&["one"]).calling("look", &["{", "}"]).stream();
    let ended = message.framed(Framing::UntilClose);
    check(ended, &["event: message_start", "\"one\"", "partial_json", "event: message_stop"], None);
}

#[test]
fn each_model_has_its_script_and_the_last_reply_is_repeated() {
    let close = |reply: Reply| reply.framed(Framing::UntilClose);
    let vendor = Vendor::start(vec![close(Reply::error(500))]);
    vendor.script("m", vec![close(Reply::error(429)), close(Answer::chat(&["fine"]).whole())]);
    for (model, status) in [("m", 429), ("m", 200), ("other", 500), ("m", 200)] {
        let (said, _) = rest(ask(&vendor, model));
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{said}");
    }
    vendor.assert_called("m", 3);
    vendor.assert_called("other", 1);
    let [first, ..] = &vendor.received()[..] else { panic!("it received nothing") };
    assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!((first.header("x-thing"), first.model()), (Some("yes"), "m".to_owned()));
}

#[test]
fn a_vendor_that_hangs_ends_with_its_test() {
    let vendor = Vendor::start(vec![Reply::hangs()]);
    let stream = ask(&vendor, "m");
    while vendor.received().is_empty() {
        std::thread::yield_now();
    }
    drop(vendor);
    assert_eq!(rest(stream), (String::new(), None));
}

#[test]
fn a_closed_port_refuses() {
    let closed = ClosedPort::open();
    let refused = TcpStream::connect(closed.address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(closed.base_url().ends_with("/v1"));
}
