use serde_json::json;

use super::*;
use crate::scripted::{Play, Scripted, client, nobody};

fn slack(url: &Url) -> SlackMessages {
    let webhook = format!("{url}services/T0/B0/s3cret");
    SlackMessages::new(client(), SecretString::from(webhook)).unwrap()
}

#[tokio::test]
async fn a_message_is_posted_to_the_webhook() {
    let server = Scripted::answering(&[(200, "ok")]);
    let body = json!({"blocks": [{"type": "divider"}]});
    let receipt = slack(&server.url).post("run-7", &body).await.unwrap();
    assert_eq!(receipt.id, "run-7");
    let seen = server.finish();
    assert_eq!((seen.len(), seen[0].line.as_str()), (1, "POST /services/T0/B0/s3cret"));
    assert_eq!(seen[0].json(), body);
}

#[tokio::test]
async fn an_error_says_what_is_known_and_never_the_address() {
    let check = async |play: Play, expected: &str| {
        let server = Scripted::start([play]);
        let error = slack(&server.url).post("run-7", &json!({})).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert_eq!(server.finish().len(), 1);
    };
    check(Play::Answer(404, "no_service".to_owned()), "Refused").await;
    check(Play::Answer(429, "rate_limited".to_owned()), "Unavailable").await;
    check(Play::Answer(500, String::new()), "Ambiguous").await;
    check(Play::HangUp, "Ambiguous").await;
    let error = slack(&nobody()).post("run-7", &json!({})).await.unwrap_err();
    assert!(
        matches!(error, Error::Unavailable { .. }) && !error.to_string().contains("s3cret"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_no_webhook_is_told_without_repeating_it() {
    for text in ["", "s3cret", "ftp://x/s3cret", "http://", "mailto:a@b"] {
        let error = SlackMessages::new(client(), SecretString::from(text)).map(drop).unwrap_err();
        assert!(!error.to_string().contains("s3cret"));
    }
}
