use std::sync::Mutex;

use agentry_core::Timestamp;
use agentry_core::outbound::{Error, Receipt};
use agentry_gateway::watchdog::Signal;

use super::*;

/// Notes what it is sent; fails as often as it is told to.
#[derive(Default)]
struct Book {
    fails: Mutex<u32>,
    sent: Mutex<Vec<(String, Value)>>,
}

#[async_trait]
impl Messages for Book {
    async fn post(&self, key: &str, body: &Value) -> Result<Receipt, Error> {
        let mut fails = self.fails.lock().unwrap();
        if *fails > 0 {
            *fails -= 1;
            let (target, reason) = ("Slack".to_owned(), "busy".to_owned());
            return Err(Error::Unavailable { target, reason });
        }
        self.sent.lock().unwrap().push((key.to_owned(), body.clone()));
        Ok(Receipt { id: key.to_owned(), link: String::new() })
    }
}

fn notice(why: Why, channels: &[&str]) -> Notice {
    let alert = Alert {
        id: "slow-1".into(),
        rule: "slow".into(),
        signal: Signal::FirstTokenP95,
        subject: "one/small".into(),
        value: 2.5,
        threshold: 2.0,
        since: Timestamp::from_seconds(0),
        acknowledged_by: None,
    };
    Notice { why, alert, channels: channels.iter().map(|name| (*name).into()).collect() }
}

fn telling(channels: &[(&str, &Arc<Book>)]) -> (mpsc::Sender<Notice>, Telling) {
    let (notices, waiting) = mpsc::channel(4);
    let channels = channels.iter().map(|(name, book)| {
        let book = Arc::clone(book) as Arc<dyn Messages>;
        (Arc::from(*name), book)
    });
    let alarms = Alarms {
        watchdog: Handle::default(),
        channels: Arc::new(RwLock::new(Arc::new(channels.collect()))),
        client: Client::new(&agentry_http::Settings::default()),
    };
    (notices, Telling { instance: "one".to_owned(), alarms, waiting })
}

#[tokio::test(start_paused = true)]
async fn a_notice_goes_to_its_channels_again_and_again_until_it_is_taken() {
    let (ops, pager) = (Arc::new(Book::default()), Arc::new(Book::default()));
    *ops.fails.lock().unwrap() = 2;
    let (notices, telling) = telling(&[("ops", &ops), ("pager", &pager)]);
    notices.send(notice(Why::Fired, &["ops", "pager"])).await.unwrap();
    notices.send(notice(Why::Resolved, &["ops", "nobody"])).await.unwrap();
    drop(notices);
    telling.run(CancellationToken::new()).await;
    let keys = |book: &Book| -> Vec<String> {
        book.sent.lock().unwrap().iter().map(|(key, _)| key.clone()).collect()
    };
    assert_eq!(keys(&ops), ["slow-1-fired", "slow-1-resolved"]);
    assert_eq!(keys(&pager), ["slow-1-fired"]);
    let (_, body) = pager.sent.lock().unwrap()[0].clone();
    assert_eq!(
        (&body["signal"], &body["subject"], &body["value"]),
        (&json!("first_token_p95"), &json!("one/small"), &json!(2.5))
    );
    let text = body["text"].as_str().unwrap();
    assert!(text.contains("one/small takes too long to begin") && text.contains("2.5 s"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_holds_up_the_next_only_for_a_while() {
    let ops = Arc::new(Book::default());
    *ops.fails.lock().unwrap() = 4;
    let (notices, telling) = telling(&[("ops", &ops)]);
    notices.send(notice(Why::Fired, &["ops"])).await.unwrap();
    notices.send(notice(Why::Resolved, &["ops"])).await.unwrap();
    drop(notices);
    telling.run(CancellationToken::new()).await;
    let sent = ops.sent.lock().unwrap();
    assert_eq!(sent.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["slow-1-resolved"]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_sent_before_the_end() {
    let ops = Arc::new(Book::default());
    let (notices, telling) = telling(&[("ops", &ops)]);
    notices.send(notice(Why::Fired, &["ops"])).await.unwrap();
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    telling.run(shutdown).await;
    assert_eq!(ops.sent.lock().unwrap().len(), 1);
}
