//! What only a server can do to us.

use agentry_backends::postgres::PostgresStore;
use agentry_core::idempotency::Idempotency as _;
use agentry_testkit::kind::{Kind as _, Schemas};

use crate::kinds::postgres;

/// Asks the server directly.
async fn client(kind: &Schemas<PostgresStore>) -> tokio_postgres::Client {
    let connecting = tokio_postgres::connect(kind.server(), tokio_postgres::NoTls);
    let (client, driver) = connecting.await.unwrap();
    tokio_util::task::TaskTracker::new().spawn(driver);
    client
}

#[tokio::test]
async fn a_store_whose_connections_were_cut_goes_on() {
    let Some(kind) = postgres("cut") else { return };
    let store = kind.fresh().await;
    let now = agentry_core::Timestamp::from_seconds(1_800_000_000);
    let server = client(&kind).await;
    for _ in 0..3 {
        store.forget_expired(now).await.unwrap();
        let ours = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                    WHERE application_name = $1";
        let cut = server.query(ours, &[&kind.name()]).await.unwrap();
        assert!(cut.iter().all(|row| row.get(0)) && !cut.is_empty());
        store.forget_expired(now).await.unwrap();
    }
}

#[tokio::test]
async fn many_processes_may_open_a_new_schema_at_once_and_a_newer_one_is_left_alone() {
    let Some(kind) = postgres("opening") else { return };
    let opened = futures_util::future::join_all((0..6).map(|_| kind.latest())).await;
    assert_eq!(opened.len(), 6);
    let schema = kind.schema();
    let newer = format!("UPDATE {schema}.versions SET version = 99 WHERE list = 'ledger'");
    client(&kind).await.batch_execute(&newer).await.unwrap();
    let problem = PostgresStore::open(&kind.url()).await.err().unwrap().to_string();
    assert!(problem.contains("newer Agentry (ledger 99, this one knows 1)"), "{problem}");
}
