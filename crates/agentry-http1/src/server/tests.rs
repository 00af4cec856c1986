use std::sync::Mutex;

use http_body_util::{BodyExt as _, Full};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;

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
async fn talk<T>(
    patience: Patience,
    service: impl FnMut(Asking) -> Answer,
    client: impl AsyncFnOnce(TcpStream) -> T,
) -> (Result<(), Ended>, T) {
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
    struct Dropped(Arc<Notify>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
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
