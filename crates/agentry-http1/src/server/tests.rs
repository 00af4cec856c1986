use std::collections::VecDeque;
use std::sync::Mutex;

use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::*;
use crate::Arrived;

const LONG: Duration = Duration::from_secs(20);

fn patience() -> Patience {
    Patience {
        head_bytes_max: 1024,
        head: Duration::from_millis(300),
        idle: LONG,
        write_stall: LONG,
        linger: Duration::from_millis(100),
    }
}

type Answer = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;
type Asking = Result<Request<Incoming>, Flaw>;

/// Serves one connection with `service` while `client` talks to it; says how it ended, and what the client says.
async fn talk<T, F, B>(
    patience: Patience,
    service: impl FnMut(Asking) -> F,
    client: impl AsyncFnOnce(TcpStream) -> T,
) -> (Result<(), Ended>, T)
where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (ours, _) = listener.accept().await.unwrap();
    let served = serve((ours, Bytes::new()), &patience, service, std::future::pending());
    tokio::time::timeout(LONG, async { tokio::join!(served, client(theirs)) }).await.unwrap()
}

async fn all(mut stream: TcpStream) -> String {
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    said
}

fn say(text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::new(Full::new(text.into()))
}

/// Says how it was asked: the method, how many pieces with something in them the body had, and how long it was.
fn echo(asking: Asking) -> Answer {
    Box::pin(async move {
        let request = match asking {
            Ok(request) => request,
            Err(flaw) => return say(format!("<{flaw}>")),
        };
        let method = request.method().clone();
        let (mut pieces, mut bytes) = (0, 0);
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => {
                    let data = frame.into_data().unwrap_or_default();
                    (pieces, bytes) = (pieces + usize::from(!data.is_empty()), bytes + data.len());
                }
                Err(error) => return say(format!("<{method}: {error}>")),
            }
        }
        say(format!("<{method} {pieces} {bytes}>"))
    })
}

/// What is said between angle brackets: the bodies of all answers.
fn said(answers: &str) -> Vec<&str> {
    answers.split('<').skip(1).filter_map(|part| part.split('>').next()).collect()
}

async fn exchange(parts: &[&[u8]]) -> (Result<(), Ended>, String) {
    talk(patience(), echo, async |mut stream| {
        for part in parts {
            stream.write_all(part).await.unwrap();
            // Lets them arrive one by one.
            tokio::task::yield_now().await;
        }
        all(stream).await
    })
    .await
}

const LAST: &[u8] = b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn requests_are_answered_one_after_the_other_however_they_come() {
    let post = b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello";
    let chunks =
        b"PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let sent = [post.as_slice(), chunks, b"\r\n", post, LAST].concat();
    let expected = ["POST 1 5", "PUT 1 5", "POST 1 5", "GET 0 0"];
    let (ended, answers) = exchange(&[&sent]).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(said(&answers), expected);
    let bytes: Vec<&[u8]> = sent.chunks(1).collect();
    let (ended, answers) = exchange(&bytes).await;
    assert!(ended.is_ok(), "{ended:?}");
    // In how many pieces chunks come is nobody's business.
    let said: Vec<_> = said(&answers).into_iter().filter(|said| !said.starts_with("PUT")).collect();
    assert_eq!(said, ["POST 1 5", "POST 1 5", "GET 0 0"]);
}

#[tokio::test]
async fn a_body_of_a_known_length_comes_in_one_piece() {
    let check = async |bytes: usize, pieces: usize| {
        let head =
            format!("POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n");
        let body = vec![b'x'; bytes];
        let parts: Vec<&[u8]> = [head.as_bytes()].into_iter().chain(body.chunks(50_000)).collect();
        let (ended, answers) = exchange(&parts).await;
        assert!(ended.is_ok(), "{ended:?}");
        assert_eq!(said(&answers), [format!("POST {pieces} {bytes}")]);
    };
    check(1, 1).await;
    check(400_000, 1).await;
    check(1 << 20, 1).await;
    check((1 << 20) + 1, 2).await;
}

#[tokio::test]
async fn what_comes_with_the_end_of_a_body_is_the_next_request() {
    for bytes in [8 << 10, 100_000, 1 << 20, (1 << 20) + 1, 3 << 20] {
        let mut sent = Vec::new();
        for _ in 0..3 {
            sent.extend(format!("POST / HTTP/1.1\r\ncontent-length: {bytes}\r\n\r\n").into_bytes());
            sent.resize(sent.len() + bytes, b'x');
        }
        sent.extend(LAST);
        let (ended, answers) = exchange(&[&sent]).await;
        assert!(ended.is_ok(), "{ended:?}");
        let post = format!("POST {} {bytes}", bytes.div_ceil(1 << 20));
        assert_eq!(said(&answers), [&post, &post, &post, "GET 0 0"]);
    }
}

/// Bytes that tell where they stand, in a body of that length.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ length) as u8).collect()
}

#[tokio::test]
async fn no_byte_of_a_body_is_lost_whatever_came_before_it() {
    let sizes = [0, 20_000, 20_000, 7, 9000, 130_000, 129_999, 130_001, 8192, 0, 70_000];
    let whole = |asking: Asking| async move {
        let body = asking.unwrap().into_body().collect().await.unwrap().to_bytes();
        say(format!("<{} {}>", body.len(), body == pattern(body.len())))
    };
    let sent: Vec<u8> = sizes
        .iter()
        .flat_map(|&size| {
            let head = format!("POST / HTTP/1.1\r\ncontent-length: {size}\r\n\r\n");
            [head.into_bytes(), pattern(size)].concat()
        })
        .chain(LAST.iter().copied())
        .collect();
    // Cut here and there, so that ends of bodies come with beginnings of heads, and not.
    for at_a_time in [37, 1000, 8192, 20_037, 100_000, 1 << 20] {
        let (ended, answers) = talk(patience(), whole, async |mut stream| {
            for (number, part) in sent.chunks(at_a_time).enumerate() {
                stream.write_all(part).await.unwrap();
                if number % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            all(stream).await
        })
        .await;
        assert!(ended.is_ok(), "{ended:?}");
        let expected: Vec<String> =
            sizes.iter().chain([&0]).map(|size| format!("{size} true")).collect();
        assert_eq!(said(&answers), expected);
    }
}

#[tokio::test]
async fn it_is_told_how_much_of_a_body_has_come() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let service = move |asking: Asking| -> Answer {
        let notes = Arc::clone(&notes);
        Box::pin(async move {
            let request = asking.unwrap();
            let arrived = request.extensions().get::<Arrived>().unwrap().clone();
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                let length = frame.unwrap().into_data().unwrap().len();
                notes.lock().unwrap().push((arrived.bytes(), length));
            }
            say("<done>")
        })
    };
    let (ended, answers) = talk(patience(), service, async |mut stream| {
        stream
            .write_all(b"POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 4\r\n\r\nab")
            .await
            .unwrap();
        while seen.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        stream.write_all(b"cd").await.unwrap();
        all(stream).await
    })
    .await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(said(&answers), ["done"]);
    assert_eq!(*seen.lock().unwrap(), [(2, 0), (4, 4)]);
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_send_when_its_body_is_read() {
    let head = b"POST / HTTP/1.1\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let (ended, answers) = talk(patience(), echo, async |mut stream| {
        stream.write_all(head).await.unwrap();
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"hi").await.unwrap();
        all(stream).await
    })
    .await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(said(&answers), ["POST 1 2"]);
    let refuse = |_: Asking| -> Answer { Box::pin(async { say("<no>") }) };
    let (_, answers) = talk(patience(), refuse, async |mut stream| {
        stream.write_all(head).await.unwrap();
        all(stream).await
    })
    .await;
    assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers}");
}

#[tokio::test]
async fn what_breaks_a_request_ends_the_connection_after_its_answer() {
    let check = async |sent: &[u8], expected: &[&str]| {
        let (_, answers) = exchange(&[sent, LAST]).await;
        assert_eq!(said(&answers), expected, "{}", sent.escape_ascii());
    };
    check(b"GET / HTTP/1.1\n\n", &["the lines of a request head must end with CR LF"]).await;
    let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    check(format!("{chunked}zz").as_bytes(), &["POST: the size of a chunk is none"]).await;
    let two = format!("{chunked}0\r\n\r\n{chunked}2\nhi");
    check(two.as_bytes(), &["POST 0 0", "POST: the size of a chunk is none"]).await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_not_taken_for_a_request() {
    let refuse = |_: Asking| -> Answer { Box::pin(async { say("<no>") }) };
    let smuggled = "GET /secret HTTP/1.1\r\n\r\n";
    // More than came with the head.
    let sent = format!("POST / HTTP/1.1\r\ncontent-length: 90000\r\n\r\n{}", smuggled.repeat(400));
    let (_, answers) = talk(patience(), refuse, async |mut stream| {
        stream.write_all(sent.as_bytes()).await.unwrap();
        all(stream).await
    })
    .await;
    assert_eq!(said(&answers), ["no"]);
}

#[tokio::test]
async fn who_goes_away_ends_what_works_for_him() {
    let (begun, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let guard = (Arc::clone(&begun), Arc::clone(&dropped));
    let service = move |asking: Asking| -> Answer {
        let (begun, dropped) = (Arc::clone(&guard.0), Dropped(Arc::clone(&guard.1)));
        Box::pin(async move {
            let _guard = dropped;
            let _ = asking.unwrap().into_body().collect().await;
            begun.notify_one();
            std::future::pending().await
        })
    };
    let (ended, ()) = talk(patience(), service, async |mut stream| {
        stream
            .write_all(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
            .await
            .unwrap();
        begun.notified().await;
        drop(stream);
        dropped.notified().await;
    })
    .await;
    assert!(matches!(ended, Err(Ended::Gone)), "{ended:?}");
}

#[tokio::test]
async fn a_head_that_drips_is_given_up_and_silence_is_not_an_error() {
    let (ended, said) = talk(patience(), echo, async |mut stream| {
        stream.write_all(b"GET / HT").await.unwrap();
        all(stream).await
    })
    .await;
    assert!(matches!(ended, Err(Ended::SlowHead)), "{ended:?}");
    assert_eq!(said, "");
    let idle = Patience { idle: Duration::from_millis(50), ..patience() };
    let (ended, said) = talk(idle, echo, all).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(said, "");
}

#[tokio::test]
async fn who_takes_nothing_of_an_answer_is_dropped() {
    let flood = |_: Asking| -> Answer { Box::pin(async { say(vec![b'x'; 64 << 20]) }) };
    let impatient = Patience { write_stall: Duration::from_millis(50), ..patience() };
    let (ended, _stream) = talk(impatient, flood, async |mut stream| {
        stream.write_all(LAST).await.unwrap();
        stream
    })
    .await;
    assert!(matches!(ended, Err(Ended::Stalled)), "{ended:?}");
}

#[tokio::test]
async fn an_unread_body_is_said_to_end_the_connection() {
    let refuse = |_: Asking| -> Answer { Box::pin(async { say("<no>") }) };
    let check = async |sent: &'static str, is_last: bool| {
        let (_, answers) = talk(patience(), refuse, async |mut stream| {
            stream.write_all(sent.as_bytes()).await.unwrap();
            stream.read_u8().await.unwrap();
            stream.shutdown().await.unwrap();
            all(stream).await
        })
        .await;
        assert_eq!(answers.contains("connection: close"), is_last, "{sent:?}: {answers}");
    };
    check("POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi", false).await;
    check("POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n", true).await;
    check("POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n", true).await;
    check("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", true).await;
}

#[tokio::test]
async fn pieces_of_chunks_hold_on_to_nothing_else() {
    let service = |asking: Asking| -> Answer {
        Box::pin(async move {
            let (mut body, mut most) = (asking.unwrap().into_body(), 0);
            while let Some(frame) = body.frame().await {
                let piece = frame.unwrap().into_data().unwrap();
                most = most.max(piece.try_into_mut().unwrap().capacity());
            }
            say(format!("<{most}>"))
        })
    };
    let head = "POST / HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let (_, answers) = talk(patience(), service, async |mut stream| {
        for part in [head, "1\r\na", "\r\n1\r\nb\r\n", "0\r\n\r\n"] {
            stream.write_all(part.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        all(stream).await
    })
    .await;
    let most: usize = said(&answers)[0].parse().unwrap();
    assert!((1..64).contains(&most), "{most} bytes for one or two");
}

#[tokio::test]
async fn a_body_may_be_read_while_its_answer_is_on_the_way() {
    let readers = Mutex::new(JoinSet::new());
    let service = |asking: Asking| {
        readers.lock().unwrap().spawn(asking.unwrap().into_body().collect());
        async { say("<early>") }
    };
    let (ended, answers) = talk(patience(), service, async |mut stream| {
        for _ in 0..2 {
            stream.write_all(b"POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\nhi").await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(b"hi").await.unwrap();
        }
        stream.write_all(LAST).await.unwrap();
        all(stream).await
    })
    .await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(said(&answers), ["early"; 3]);
}

#[tokio::test]
async fn a_body_that_is_let_go_of_half_way_is_not_taken_for_a_request() {
    let service = |asking: Asking| -> Answer {
        Box::pin(async move {
            // Whether it was good or not.
            let _ = asking.unwrap().into_body().frame().await;
            say("<enough>")
        })
    };
    let secret = "GET /secret HTTP/1.1\r\n\r\n";
    for framing in
        ["transfer-encoding: chunked\r\n\r\n1\r\na\r\n", "content-length: 4000000\r\n\r\n"]
    {
        let sent = format!("POST / HTTP/1.1\r\n{framing}{}", secret.repeat(60_000));
        let (_, answers) = talk(patience(), service, async |mut stream| {
            // It may be gone before all of this has left.
            let _ = stream.write_all(sent.as_bytes()).await;
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said).await;
            String::from_utf8(said).unwrap()
        })
        .await;
        assert!(said(&answers).len() <= 1, "{framing}: {answers}");
    }
}

/// A body that says what it is told to, and announces what it is told to.
struct Scripted {
    steps: VecDeque<Step>,
    length: Option<u64>,
    _guard: Option<Dropped>,
}

enum Step {
    Say(&'static str),
    Fail,
    /// For ever.
    Wait,
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.steps.pop_front() {
            Some(Step::Say(text)) => {
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
            }
            Some(Step::Fail) => Poll::Ready(Some(Err(io::ErrorKind::Other.into()))),
            Some(Step::Wait) => {
                self.steps.push_front(Step::Wait);
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

struct Dropped(Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    use Step::{Fail, Say};
    type Steps = fn() -> Vec<Step>;
    let check = async |version: &str, length: Option<u64>, steps: Steps, expected: &str| {
        let service = |_: Asking| async move {
            Response::new(Scripted { steps: steps().into(), length, _guard: None })
        };
        let sent = format!("GET / HTTP/{version}\r\n\r\nGET / HTTP/{version}\r\n\r\n");
        let (ended, answers) = talk(patience(), service, async |mut stream| {
            stream.write_all(sent.as_bytes()).await.unwrap();
            let mut said = Vec::new();
            let ended = stream.read_to_end(&mut said).await;
            (String::from_utf8(said).unwrap(), ended.is_ok())
        })
        .await;
        let (answers, is_whole) = answers;
        assert!(matches!(ended, Err(Ended::Broken)), "{ended:?}");
        let body = answers.split("\r\n\r\n").nth(1).unwrap_or_default();
        // What is cut off may be lost as well.
        assert!(expected.starts_with(body), "{answers}");
        let tells = length.is_some() || version == "1.1";
        assert!(tells || !is_whole, "{version} {length:?}: {answers}");
    };
    check("1.1", None, || vec![Say("a"), Fail], "1\r\na\r\n").await;
    check("1.1", Some(3), || vec![Say("a"), Fail], "a").await;
    check("1.1", Some(3), || vec![Say("a")], "a").await;
    check("1.1", Some(1), || vec![Say("ab")], "a").await;
    check("1.0", None, || vec![Say("a"), Fail], "a").await;
}

#[tokio::test]
async fn who_goes_away_while_an_answer_waits_ends_it() {
    let dropped = Arc::new(Notify::new());
    for sent in [
        "GET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    ] {
        let service = |asking: Asking| {
            let guard = Some(Dropped(Arc::clone(&dropped)));
            async move {
                asking.unwrap().into_body().collect().await.unwrap();
                let steps = [Step::Say("first"), Step::Wait].into();
                Response::new(Scripted { steps, length: None, _guard: guard })
            }
        };
        let (ended, ()) = talk(patience(), service, async |mut stream| {
            stream.write_all(sent.as_bytes()).await.unwrap();
            let mut first = Vec::new();
            while !first.ends_with(b"first\r\n") {
                first.push(stream.read_u8().await.unwrap());
            }
            drop(stream);
            dropped.notified().await;
        })
        .await;
        assert!(matches!(ended, Err(Ended::Gone)), "{sent:?}: {ended:?}");
    }
}

#[tokio::test]
async fn little_is_held_of_what_comes_before_its_turn() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (read, write) = listener.accept().await.unwrap().0.into_split();
    // A large request was read, and is not answered yet.
    let line = Line { read, got: BytesMut::new(), framing: Framing::Over, expected: PIECE_MAX };
    let patience = patience();
    let mut connection = Connection { line: Some(line), back: None, write, patience: &patience };
    let mut sending = JoinSet::new();
    sending.spawn(async move {
        // It is not taken, so this goes on until the connection is gone.
        let _ = theirs.write_all(&vec![b'P'; 32 * PIECE_MAX]).await;
    });
    let held = tokio::time::timeout(
        LONG,
        poll_fn(|cx| {
            assert!(connection.poll_gone(cx).is_pending());
            let got = &connection.line.as_ref().unwrap().got;
            if got.len() < patience.head_bytes_max { Poll::Pending } else { Poll::Ready(got.len()) }
        }),
    );
    assert!(held.await.unwrap() <= patience.head_bytes_max + READ_BYTES);
    drop(connection);
    tokio::time::timeout(LONG, sending.join_all()).await.unwrap();
}
