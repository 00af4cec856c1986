use agentry_testkit::FakeClock;
use agentry_testkit::shared::{self, SharedKind};

use super::*;

#[derive(Default)]
struct Memory(Arc<FakeClock>);

impl SharedKind for Memory {
    async fn fresh(&self) -> Arc<dyn Shared> {
        Arc::new(MemoryShared::new(Arc::<FakeClock>::clone(&self.0), 1 << 30))
    }

    async fn pass(&self, span: Duration) {
        self.0.advance(span);
    }
}

macro_rules! each {
    ($($name:ident)*) => {
        $(#[tokio::test]
        async fn $name() {
            shared::$name(&Memory::default()).await;
        })*
    };
}

agentry_testkit::for_each_shared_test!(each);

#[tokio::test]
async fn what_would_be_gone_soonest_makes_room() {
    let clock = Arc::new(FakeClock::default());
    let store = MemoryShared::new(Arc::<FakeClock>::clone(&clock), 100);
    let set = async |key: &str, bytes: usize, seconds: u64| {
        let value = "x".repeat(bytes).into();
        let ttl = Duration::from_secs(seconds);
        let entry = Entry { key: key.as_bytes().to_vec(), value, ttl, tags: Vec::new() };
        store.set(entry).await.unwrap();
    };
    let check = async |there: &[&str]| {
        let mut found = Vec::new();
        for key in ["a", "b", "c", "d"] {
            if store.get(key.as_bytes()).await.unwrap().is_some() {
                found.push(key);
            }
        }
        assert_eq!(found, there);
    };
    set("a", 40, 10).await;
    set("b", 40, 5).await;
    set("c", 40, 20).await;
    check(&["a", "c"]).await;
    set("a", 10, 10).await;
    set("d", 20, 30).await;
    check(&["a", "c", "d"]).await;
    clock.advance(Duration::from_secs(20));
    check(&["d"]).await;
    assert_eq!(store.state().bytes, 21);
}
