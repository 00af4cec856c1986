//! Whatever bytes come, the requests that are answered are those that hyper answers, until one is refused.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry_http1::{Patience, serve};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LONG: Duration = Duration::from_secs(20);

/// The requests that were read to their ends: what was asked, and with which body. And whether something was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Heard {
    requests: Vec<(String, Vec<u8>)>,
    refused: bool,
}

type Notes = Arc<Mutex<Heard>>;

async fn hear<B>(request: Request<B>, notes: &Notes) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let asked = format!("{} {}", request.method(), request.uri());
    let body = request.into_body().collect().await;
    let mut heard = notes.lock().unwrap();
    match body {
        Ok(body) => heard.requests.push((asked, body.to_bytes().to_vec())),
        Err(_) => heard.refused = true,
    }
    Response::new(Full::new(Bytes::from_static(b"heard")))
}

/// Sends `parts` to what `server` makes of the other end, and takes whatever is answered.
async fn talk<F: Future>(parts: &[&[u8]], server: impl FnOnce(UnixStream) -> F) -> F::Output {
    let (ours, theirs) = UnixStream::pair().unwrap();
    for end in [&ours, &theirs] {
        end.set_nonblocking(true).unwrap();
    }
    let client = async {
        let (mut read, mut write) = tokio::net::UnixStream::from_std(theirs).unwrap().into_split();
        let send = async {
            for part in parts {
                // Who refuses the rest may be gone.
                if write.write_all(part).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            // The clock stands still until nobody has anything to do: all of it was read, as far as it will be.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let _ = write.shutdown().await;
        };
        let mut answers = Vec::new();
        let take = async {
            let _ = read.read_to_end(&mut answers).await;
        };
        tokio::join!(send, take);
    };
    let both = async { tokio::join!(server(ours), client) };
    tokio::time::timeout(LONG, both).await.expect("the connection ends").0
}

async fn ours(parts: &[&[u8]]) -> Heard {
    let notes = Notes::default();
    let patience = Patience {
        head_bytes_max: 64 << 10,
        head: LONG,
        idle: LONG,
        write_stall: LONG,
        linger: LONG,
    };
    talk(parts, async |stream| {
        let stream = std::net::TcpStream::from(OwnedFd::from(stream));
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let service = |request| -> Pin<Box<dyn Future<Output = _>>> {
            let notes = Arc::clone(&notes);
            Box::pin(async move {
                match request {
                    Ok(request) => hear(request, &notes).await,
                    Err(_) => {
                        notes.lock().unwrap().refused = true;
                        Response::default()
                    }
                }
            })
        };
        // How it ended is not what this is about.
        let _ = serve((stream, Bytes::new()), &patience, service, std::future::pending()).await;
    })
    .await;
    let heard = notes.lock().unwrap();
    heard.clone()
}

async fn theirs(parts: &[&[u8]]) -> Heard {
    let notes = Notes::default();
    let ended = talk(parts, async |stream| {
        let stream = TokioIo::new(tokio::net::UnixStream::from_std(stream).unwrap());
        let service =
            service_fn(|request| async { Ok::<_, Infallible>(hear(request, &notes).await) });
        http1::Builder::new().serve_connection(stream, service).await
    })
    .await;
    let mut heard = notes.lock().unwrap().clone();
    heard.refused |= ended.is_err();
    heard
}

fn hear_both(bytes: &[u8], cuts: &[usize]) -> (Heard, Heard) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(bytes.len())).collect();
    cuts.sort_unstable();
    let ends = cuts.iter().copied().chain([bytes.len()]);
    let parts: Vec<&[u8]> =
        [0].into_iter().chain(cuts.clone()).zip(ends).map(|(from, to)| &bytes[from..to]).collect();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async { (ours(&parts).await, theirs(&parts).await) })
}

/// What we answer, they answer; what we do not answer, we refuse.
fn check(bytes: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    let (ours, theirs) = hear_both(bytes, cuts);
    let same = theirs.requests.get(..ours.requests.len()) == Some(&ours.requests[..]);
    let all = ours.requests.len() == theirs.requests.len();
    prop_assert!(same, "{}\nours {ours:?}\ntheirs {theirs:?}", bytes.escape_ascii());
    prop_assert!(all || ours.refused, "{}\nours {ours:?}\ntheirs {theirs:?}", bytes.escape_ascii());
    Ok(())
}

/// Parts of requests, right and wrong.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let lines: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n",
        b"POST /a?b HTTP/1.1\r\n",
        b"HEAD / HTTP/1.1\r\n",
        b"POST / HTTP/1.0\r\n",
        b"POST /  HTTP/1.1\r\n",
        b"POST / HTTP/1.1\n",
        b"GET http://h/x HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"CONNECT h:1 HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let fields: &[&[u8]] = &[
        b"host: h\r\n",
        b"content-length: 5\r\n",
        b"content-length: 0\r\n",
        b"Content-Length:\t5 \r\n",
        b"content-length: 5, 5\r\n",
        b"content-length: +5\r\n",
        b"content-length : 5\r\n",
        b"content-length: 18446744073709551616\r\n",
        b"transfer-encoding: chunked\r\n",
        b"Transfer-Encoding:chunked\t\r\n",
        b"transfer-encoding: \x0bchunked\r\n",
        b"transfer-encoding: identity\r\n",
        b"transfer-encoding: gzip, chunked\r\n",
        b"transfer-encoding:\r\n chunked\r\n",
        b"transfer-encoding: chunked\n",
        b"transfer-encoding: chunked\rx: y\r\n",
        b"connection: close\r\n",
        b"connection: keep-alive\r\n",
        b"expect: 100-continue\r\n",
        b"x: \0\r\n",
        b"x\r\n",
    ];
    let bodies: &[&[u8]] = &[
        b"\r\n",
        b"\n",
        b"\r",
        b"hello",
        b"5\r\nhello\r\n",
        b"05 \t\r\nhello\r\n",
        b"5 1\r\nhello\r\n",
        b"5;a=b\r\nhello\r\n",
        b"5;a=\"\r\n\"\r\n",
        b"5;a\nhello\r\n",
        b"5\nhello\r\n",
        b"5\r\nhelloGET / HTTP/1.1\r\n\r\n",
        b"0x5\r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"10000000000000005\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nx: y\r\n\r\n",
        b"0\r\nxy\r\n\r\n",
        b"0\r\nx y: z\r\n\r\n",
        b"0\r\n : z\r\n\r\n",
        b"0\r\nx: \0\r\n\r\n",
        b"0\r\n\rx",
        b"\0",
    ];
    prop_oneof![
        2 => select(lines),
        3 => select(fields),
        3 => select(bodies),
    ]
    .prop_map(<[u8]>::to_vec)
}

/// A request that has most of what belongs to it.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let framed = prop_oneof![
        Just(
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                .to_vec()
        ),
        Just(b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello".to_vec()),
        Just(b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        Just(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".to_vec()),
    ];
    let parts = (any::<Index>(), prop::option::weighted(0.6, fragment()), any::<bool>());
    (framed, parts).prop_map(|(mut request, (at, fragment, at_line))| {
        let Some(fragment) = fragment else { return request };
        let lines: Vec<usize> = request
            .windows(2)
            .enumerate()
            .filter(|(_, pair)| *pair == b"\r\n")
            .map(|(at, _)| at + 2)
            .collect();
        let at = if at_line { lines[at.index(lines.len())] } else { at.index(request.len()) };
        request.splice(at..at, fragment);
        request
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_answered_is_what_others_answer(
        requests in prop::collection::vec(request(), 1..4),
        cuts in prop::collection::vec(0_usize..200, 0..4),
    ) {
        check(&requests.concat(), &cuts)?;
    }

    #[test]
    fn what_is_answered_of_anything_is_what_others_answer(
        fragments in prop::collection::vec(fragment(), 1..12),
        cuts in prop::collection::vec(0_usize..200, 0..4),
    ) {
        check(&fragments.concat(), &cuts)?;
    }
}

#[test]
fn what_is_right_is_answered_by_both() {
    let sent = b"POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello\
        PUT /b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nx: y\r\n\r\n\
        GET /c HTTP/1.0\r\n\r\nGET /never HTTP/1.1\r\n\r\n";
    let requests = [("POST /a", "hello"), ("PUT /b", "hello"), ("GET /c", "")]
        .map(|(asked, body)| (asked.to_owned(), body.as_bytes().to_vec()));
    let expected = Heard { requests: requests.to_vec(), refused: false };
    for cut in 0..sent.len() {
        assert_eq!(hear_both(sent, &[cut]), (expected.clone(), expected.clone()), "cut at {cut}");
    }
}
