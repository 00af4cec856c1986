use agentry_http::Settings as HttpSettings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// What a look finds at somebody who answers with `answer`, and what was heard of it.
async fn looks(
    answer: &str,
    make: impl Fn(Client, String) -> Checker,
) -> (Result<(), String>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let root = format!("http://{}", listener.local_addr().unwrap());
    let checker = make(Client::new(&HttpSettings::default()), root);
    let heard = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        if answer.is_empty() {
            // Until the other side gives up.
            assert!(stream.read_u8().await.is_err());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap().to_lowercase()
    };
    tokio::join!(checker.look(), heard)
}

const WITHIN: Duration = Duration::from_secs(20);
const MODELS: Asked<'_> = Asked { path: "/models", timeout: WITHIN };

fn openai(client: Client, root: String) -> Checker {
    let settings = openai::Settings {
        api_key: Some("sk-1".into()),
        ..openai::Settings::new(format!("{root}/v1/"))
    };
    Checker::openai(client, &settings, MODELS).unwrap()
}

#[tokio::test]
async fn whoever_answers_well_or_has_too_much_to_do_is_there() {
    let check = async |status: &str, expected: Result<(), &str>| {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
        let (found, _) = looks(&answer, openai).await;
        match (found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(problem), Err(part)) => assert!(problem.contains(part), "{problem}"),
            (found, _) => panic!("{found:?} of {status}"),
        }
    };
    check("200 OK", Ok(())).await;
    check("204 Nothing", Ok(())).await;
    check("429 Busy", Ok(())).await;
    check("404 Gone", Err("is the path of the check right?")).await;
    check("401 Who", Err("refuses our key (401)")).await;
    check("503 Down", Err("/v1/models answered 503")).await;
    check("302 Elsewhere", Err("answered 302")).await;
}

#[tokio::test]
async fn a_long_list_of_models_is_an_answer() {
    let check = async |status: &str, length: usize, expected: bool| {
        let list = " ".repeat(length);
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 9000000\r\n\r\n{list}");
        let (found, _) = looks(&answer, openai).await;
        assert_eq!(found.is_ok(), expected, "{status} {length}: {found:?}");
    };
    check("200 OK", ANSWER_BYTES_MAX + 1, true).await;
    check("500 Down", ANSWER_BYTES_MAX + 1, false).await;
    // It broke off.
    check("200 OK", 1, false).await;
}

#[tokio::test]
async fn whoever_says_nothing_is_not_there() {
    let hasty = |client, root: String| {
        let asked = Asked { timeout: Duration::from_millis(50), ..MODELS };
        Checker::openai(client, &openai::Settings::new(root), asked).unwrap()
    };
    let (found, _) = looks("", hasty).await;
    assert!(found.is_err(), "{found:?}");
}

#[tokio::test]
async fn each_vendor_is_asked_with_its_own_credentials() {
    let good = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let check = async |make: fn(Client, String) -> Checker, expected: &[&str]| {
        let (found, heard) = looks(good, make).await;
        assert_eq!(found, Ok(()));
        for part in expected {
            assert!(heard.contains(part), "{part} in {heard}");
        }
        assert!(!heard.contains("content-type"), "{heard}");
    };
    check(openai, &["get /v1/models http", "authorization: bearer sk-1"]).await;
    let anthropic = |client, root: String| {
        let settings =
            anthropic::Settings { api_key: Some("ant-1".into()), ..anthropic::Settings::new(root) };
        let asked = Asked { path: "/v1/models", timeout: WITHIN };
        Checker::anthropic(client, &settings, asked).unwrap()
    };
    check(anthropic, &["get /v1/models http", "x-api-key: ant-1", "anthropic-version: "]).await;
    let gemini = |client, root: String| {
        let settings =
            gemini::Settings { api_key: Some("g-1".into()), ..gemini::Settings::new(root) };
        Checker::gemini(client, &settings, MODELS).unwrap()
    };
    check(gemini, &["get /models http", "x-goog-api-key: g-1"]).await;
    let azure = |client, root: String| {
        let settings =
            azure::Settings { api_key: Some("az-1".into()), ..azure::Settings::new(root) };
        Checker::azure(client, &settings, MODELS).unwrap()
    };
    check(azure, &["get /models http", "api-key: az-1"]).await;
    let ollama = |client, root: String| {
        let asked = Asked { path: "/api/version", timeout: WITHIN };
        Checker::ollama(client, &ollama::Settings::new(root), asked).unwrap()
    };
    check(ollama, &["get /api/version http"]).await;
}
