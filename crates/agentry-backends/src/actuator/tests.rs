use serde_json::Value;

use super::*;
use crate::scripted::{Play, Scripted, client, nobody};

fn order() -> Order {
    Order {
        action: "restart".to_owned(),
        service: "cart".to_owned(),
        parameters: json!({"grace_seconds": 5}),
        preview: "restart cart".to_owned(),
    }
}

fn webhook(url: &Url) -> WebhookActuator {
    let url: Url = format!("{url}hooks/restart?key=s3cret").parse().unwrap();
    WebhookActuator::new(client(), [("restart".to_owned(), url)].into())
}

#[tokio::test]
async fn an_order_goes_to_the_webhook_of_its_action() {
    let server = Scripted::answering(&[(
        202,
        r#"{"id":"job-1","link":"https://ci.example.org/1","more":true}"#,
    )]);
    let actuator = webhook(&server.url).with_token(SecretString::from("t0ken"));
    let receipt = actuator.perform("run-7:act", &order()).await.unwrap();
    assert_eq!(
        receipt,
        Receipt { id: "job-1".to_owned(), link: "https://ci.example.org/1".to_owned() }
    );
    let seen = server.finish();
    assert_eq!((seen.len(), seen[0].line.as_str()), (1, "POST /hooks/restart?key=s3cret"));
    assert_eq!(seen[0].header("authorization"), Some("Bearer t0ken"));
    assert_eq!(seen[0].header("idempotency-key"), Some("run-7:act"));
    let expected = json!({
        "action": "restart", "service": "cart", "parameters": {"grace_seconds": 5}, "idempotency_key": "run-7:act",
    });
    assert_eq!(seen[0].json(), expected);
}

#[tokio::test]
async fn a_webhook_need_not_explain_itself() {
    let server = Scripted::answering(&[(200, "done")]);
    let receipt = webhook(&server.url).perform("run-7", &order()).await.unwrap();
    assert_eq!(receipt.id, "run-7");
    assert_eq!(format!("{}/", receipt.link), server.url.as_str());
}

#[tokio::test]
async fn nothing_is_sent_twice() {
    let check = async |play: Play, expected: &str| {
        // A second request would find nobody: the script has one answer.
        let server = Scripted::start([play]);
        let error = webhook(&server.url).perform("run-7", &order()).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert_eq!(server.finish().len(), 1);
    };
    check(Play::HangUp, "Ambiguous").await;
    check(Play::Answer(500, "half-way".to_owned()), "Ambiguous").await;
    check(Play::Answer(403, "no".to_owned()), "Refused").await;
    check(Play::Answer(503, "later".to_owned()), "Unavailable").await;
    let error = webhook(&nobody()).perform("run-7", &order()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn an_action_without_a_webhook_is_refused() {
    let order = Order { action: "scale".to_owned(), ..order() };
    let error = webhook(&nobody()).perform("run-7", &order).await.unwrap_err();
    let text =
        "the webhook of `scale` refused it: none is configured; there are webhooks of: restart";
    assert_eq!(error.to_string(), text);
    assert!(matches!(error, Error::Refused { .. }));
}

#[tokio::test]
async fn an_order_on_paper_says_that_nothing_was_run() {
    let folder = tempfile::tempdir().unwrap();
    let actuator = FileActuator::new(folder.path());
    let receipt = actuator.perform("run-7", &order()).await.unwrap();
    assert_eq!(receipt.id, "recorded only: run-7.json");
    let kept: Value = serde_json::from_slice(&std::fs::read(&receipt.link).unwrap()).unwrap();
    assert_eq!(kept["order"], json!(order()));
    assert_eq!(
        kept["note"],
        "recorded only: no webhook is configured for this action, so nothing was run"
    );
}
