use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn cache(bytes_max: usize) -> (Cache, Instant) {
    let now = Instant::now();
    (Cache::new(Settings { bytes_max, ttl: MINUTE }, now), now)
}

fn key(number: u64) -> Key {
    let mut key = [0; 32];
    // Neighbours differ in their last bits only, which is harder than digests are.
    key[24..].copy_from_slice(&number.to_be_bytes());
    Key(key)
}

fn kept(text: impl Into<Bytes>) -> Arc<Kept> {
    Arc::new(Kept::new(Form::Whole(text.into()), "p/m".into(), None, None))
}

fn tags(tenant: &str) -> Tags {
    Tags::new([Tag::Tenant(tenant), Tag::Alias("fast")])
}

fn ticket(cache: &Cache) -> Ticket {
    match cache.get(&Key([255; 32]), cache.start) {
        Lookup::Miss(ticket) => ticket,
        Lookup::Hit(_) => panic!("nothing lies there"),
    }
}

fn fresh(cache: &Cache, number: u64, text: &str) -> Fresh {
    let (ticket, kept) = (ticket(cache), kept(text.to_owned()));
    Fresh { key: key(number), kept, tags: tags("t"), ticket, ttl_max: None }
}

/// The text that lies under a key.
fn found(cache: &Cache, number: u64, now: Instant) -> Option<String> {
    match cache.get(&key(number), now) {
        Lookup::Miss(_) => None,
        Lookup::Hit(kept) => match kept.form() {
            Form::Whole(bytes) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
            Form::Frames(_) | Form::Response(_) => panic!("it was kept as a whole"),
        },
    }
}

#[test]
fn an_answer_is_found_until_its_time_is_over() {
    let (cache, now) = cache(1 << 20);
    assert!(cache.insert(fresh(&cache, 1, "one"), now));
    let short = Fresh { ttl_max: Some(MINUTE / 2), ..fresh(&cache, 2, "two") };
    assert!(cache.insert(short, now));
    let check = |after: Duration, one: Option<&str>, two: Option<&str>| {
        assert_eq!(found(&cache, 1, now + after).as_deref(), one, "{after:?}");
        assert_eq!(found(&cache, 2, now + after).as_deref(), two, "{after:?}");
    };
    check(Duration::ZERO, Some("one"), Some("two"));
    check(MINUTE / 2, Some("one"), None);
    check(MINUTE - Duration::from_millis(1), Some("one"), None);
    check(MINUTE, None, None);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.inserts, stats.entries), (4, 6, 2, 0));
}

#[test]
fn what_is_invalidated_is_gone_and_does_not_come_back() {
    let check = |forget: fn(&Cache), one: bool| {
        let (cache, now) = cache(1 << 20);
        assert!(cache.insert(fresh(&cache, 1, "one"), now));
        let under_way = fresh(&cache, 1, "late");
        let other = Fresh { key: key(3), tags: tags("u"), ..fresh(&cache, 3, "other") };
        forget(&cache);
        assert_eq!(found(&cache, 1, now).is_some(), one);
        assert_eq!(cache.is_current(&under_way), one);
        assert_eq!(cache.insert(under_way, now), one, "it was under way when it was forgotten");
        drop(other);
        assert!(cache.insert(fresh(&cache, 1, "anew"), now));
        assert_eq!(found(&cache, 1, now).as_deref(), Some("anew"));
    };
    check(|cache| assert_eq!(cache.invalidate(&Tag::Tenant("t").to_string()), 1), false);
    check(|cache| assert_eq!(cache.invalidate(&Tag::Alias("fast").to_string()), 1), false);
    check(|cache| assert_eq!(cache.invalidate(&Tag::Tenant("u").to_string()), 0), true);
    check(|cache| assert_eq!(cache.invalidate("t"), 0), true);
    check(|cache| cache.remove(&key(1)), false);
    check(|cache| cache.remove(&key(2)), true);
    check(Cache::clear, false);
}

#[test]
fn of_more_invalidations_than_are_remembered_the_cautious_one_is_believed() {
    let (cache, now) = cache(1 << 20);
    let under_way = fresh(&cache, 1, "one");
    for number in 0..1_024 {
        cache.remove(&key(1_000 + number));
    }
    assert!(cache.is_current(&under_way));
    cache.remove(&key(9));
    assert!(!cache.insert(under_way, now));
    assert!(cache.insert(fresh(&cache, 1, "one"), now));
}

#[test]
fn a_long_answer_displaces_nobody() {
    let (cache, now) = cache(1 << 20);
    assert!(cache.insert(fresh(&cache, 1, "one"), now));
    let max = cache.entry_bytes_max();
    assert!(!cache.insert(fresh(&cache, 2, &"x".repeat(max)), now));
    assert_eq!(found(&cache, 1, now).as_deref(), Some("one"));
    assert!(cache.insert(fresh(&cache, 2, &"x".repeat(max / 2)), now));
}

#[test]
fn a_cache_that_shrinks_forgets_and_grows_again() {
    let (cache, now) = cache(1 << 20);
    let fill = || {
        for number in 0..2_000 {
            cache.insert(fresh(&cache, number, &"x".repeat(1_000)), now);
        }
        cache.stats()
    };
    let full = fill();
    assert!(full.bytes > 900 << 10 && full.evictions > 0, "{full:?}");
    cache.shrink(25);
    assert!(cache.stats().bytes <= 256 << 10, "{:?}", cache.stats());
    assert!(fill().bytes <= 256 << 10);
    cache.shrink(0);
    assert_eq!(fill().entries, 0);
    cache.shrink(100);
    assert!(fill().bytes > 900 << 10);
}

#[test]
fn what_is_asked_for_again_outlives_what_is_not() {
    let (cache, now) = cache(1 << 20);
    let text = "x".repeat(1_000);
    for number in 0..100 {
        cache.insert(fresh(&cache, number, &text), now);
    }
    for round in 0..50 {
        for number in 0..100 {
            found(&cache, number, now);
        }
        for number in 0..100 {
            cache.insert(fresh(&cache, 1_000 + round * 100 + number, &text), now);
        }
    }
    let kept = (0..100).filter(|number| found(&cache, *number, now).is_some()).count();
    assert!(kept >= 95, "{kept} of 100 that are wanted are there");
}

#[test]
fn a_key_survives_its_text() {
    for key in [key(0), key(u64::MAX), Key([0xa5; 32])] {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    for text in ["", "00", &"+1".repeat(32), &"ü".repeat(32), &"g".repeat(64)] {
        assert_eq!(text.parse::<Key>(), Err(NotAKey), "{text}");
    }
}

#[derive(Debug, Clone)]
enum Act {
    Insert { number: u64, bytes: usize },
    Get(u64),
    Remove(u64),
    Wait(u64),
    Invalidate,
    Shrink(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..64_u64, 0..12_000_usize).prop_map(|(number, bytes)| Act::Insert { number, bytes }),
        8 => (0..64_u64).prop_map(Act::Get),
        1 => (0..64_u64).prop_map(Act::Remove),
        2 => (0..30_u64).prop_map(Act::Wait),
        1 => Just(Act::Invalidate),
        1 => (0..=100_u8).prop_map(Act::Shrink),
    ]
}

proptest! {
    /// Against a map that forgets nothing: what is found is what was kept last under that very key, is not too old and was
    /// not invalidated; and never is there more than there may be.
    #[test]
    fn a_cache_tells_the_truth_within_its_bytes(acts in prop::collection::vec(act(), 0..300)) {
        let (cache, mut now) = cache(100_000);
        let mut model: HashMap<u64, (String, Instant)> = HashMap::new();
        let mut bytes_max = 100_000;
        for (at, act) in acts.into_iter().enumerate() {
            match act {
                Act::Insert { number, bytes } => {
                    let text = format!("{number}:{at}:{}", "x".repeat(bytes));
                    if cache.insert(fresh(&cache, number, &text), now) {
                        model.insert(number, (text, now));
                    } else {
                        prop_assert!(bytes + 1_000 > cache.entry_bytes_max());
                    }
                }
                Act::Get(number) => {
                    if let Some(text) = found(&cache, number, now) {
                        let (last, since) = model.get(&number).unwrap();
                        prop_assert_eq!(&text, last);
                        prop_assert!(now - *since < MINUTE);
                    }
                }
                Act::Remove(number) => {
                    cache.remove(&key(number));
                    model.remove(&number);
                }
                Act::Wait(seconds) => now += Duration::from_secs(seconds),
                Act::Invalidate => {
                    cache.invalidate(&Tag::Tenant("t").to_string());
                    model.clear();
                }
                Act::Shrink(percent) => {
                    cache.shrink(percent);
                    bytes_max = 1_000 * u64::from(percent);
                }
            }
            prop_assert!(cache.stats().bytes <= bytes_max, "{:?} of {bytes_max}", cache.stats());
        }
    }
}
