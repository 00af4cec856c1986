use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;

fn outward(besides: &[&str]) -> Outward {
    let folder = tempfile::tempdir().unwrap().keep();
    std::fs::write(folder.join("token"), "from a file\n").unwrap();
    let environment = BTreeMap::from([("TOKEN".to_owned(), "sesame".to_owned())]);
    let besides = besides.iter().map(|host| (*host).to_owned()).collect();
    Outward::new(Reach::Public { besides }, Secrets { environment, folder })
}

fn request(url: &str) -> Request {
    Request {
        method: "POST".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: Some("{}".to_owned()),
        bytes_max: 16,
        idempotency_key: Some("k1".to_owned()),
    }
}

fn secret(name: &str) -> HeaderValue {
    HeaderValue::Secret(Secret { name: name.to_owned(), prefix: "Bearer ".to_owned() })
}

#[tokio::test]
async fn only_public_addresses_and_named_hosts_are_called() {
    let check = async |url: &str, expected: &str| {
        let within = Duration::from_secs(5);
        let refused = outward(&[]).send(&request(url), within).await.unwrap_err();
        assert!(matches!(refused, outbound::Error::Refused { .. }), "{refused:?}");
        assert!(refused.to_string().contains(expected), "{refused}");
    };
    check("http://127.0.0.1:9/", "[graphs]").await;
    check("http://169.254.169.254/latest", "[graphs]").await;
    check("http://me:pw@example.org/", "no user and no password").await;
    check("http://", "no URL").await;
}

#[tokio::test]
async fn secrets_are_read_where_the_request_is_sent_and_never_shown() {
    let check = |name: &str, expected: Result<&str, &str>| {
        let mut wanted = request("https://example.org/");
        wanted.headers.push(("authorization".to_owned(), secret(name)));
        match (outward(&[]).request(&wanted), expected) {
            (Ok(built), Ok(expected)) => {
                let header = &built.headers()["authorization"];
                assert_eq!(header, expected);
                assert!(header.is_sensitive());
                assert_eq!(built.headers()["idempotency-key"], "k1");
            }
            (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{reason}"),
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    };
    check("env:TOKEN", Ok("Bearer sesame"));
    check("file:token", Ok("Bearer from a file"));
    check("env:GONE", Err("GONE, which is not set"));
    check("file:gone", Err("cannot be read"));
}

/// Answers one request with `answer`, and says what it was.
fn service(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"{}") {
            let mut piece = [0; 1024];
            let read = stream.read(&mut piece).unwrap();
            heard.extend_from_slice(&piece[..read]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(heard).unwrap()
    });
    (format!("http://{address}/x"), served)
}

#[tokio::test]
async fn a_named_host_answers_with_any_status_but_not_with_too_much() {
    let within = Duration::from_secs(10);
    let (url, served) = service("HTTP/1.1 418 no\r\ncontent-length: 3\r\n\r\npot");
    let answer = outward(&["127.0.0.1"]).send(&request(&url), within).await.unwrap();
    assert_eq!(answer, Response { status: 418, body: b"pot".to_vec() });
    let heard = served.join().unwrap();
    assert!(heard.starts_with("POST /x HTTP/1.1\r\n"), "{heard}");
    assert!(heard.contains("idempotency-key: k1"), "{heard}");

    let (url, served) = service("HTTP/1.1 200 ok\r\ncontent-length: 17\r\n\r\n0123456789abcdefg");
    let refused = outward(&["127.0.0.1"]).send(&request(&url), within).await.unwrap_err();
    assert!(refused.to_string().contains("longer than 16 bytes"), "{refused}");
    served.join().unwrap();
}
