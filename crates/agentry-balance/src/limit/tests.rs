use std::sync::atomic::AtomicUsize;

use super::*;

const FAR: Duration = Duration::from_secs(3_600);

fn limiter(limit: u32) -> Limiter {
    Limiter::new(LimitSettings { initial: limit, min: limit, max: limit }, Instant::now())
}

fn wish(priority: Priority, caller: u64) -> Wish {
    Wish { priority, caller, deadline: Some(Instant::now() + FAR) }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

#[test]
fn permits_are_given_up_to_the_limit_and_come_back() {
    let limiter = limiter(2);
    let one = limiter.try_acquire().unwrap();
    let _two = limiter.try_acquire().unwrap();
    assert!(limiter.try_acquire().is_none());
    assert!(!limiter.has_room());
    drop(one);
    assert!(limiter.has_room());
    assert!(limiter.try_acquire().is_some());
    assert_eq!(
        limiter.state(),
        LimitState { limit: 2, waiting_max: 4, in_use: 1, waiting: 0, shed: 0 }
    );
}

#[test]
fn whoever_waits_is_let_in_when_there_is_room() {
    block_on(async {
        let limiter = limiter(1);
        let first = limiter.try_acquire().unwrap();
        let mut low = Box::pin(limiter.acquire(wish(Priority::Low, 1)));
        let mut high = Box::pin(limiter.acquire(wish(Priority::High, 1)));
        assert!(is_waiting(low.as_mut()).await && is_waiting(high.as_mut()).await);
        assert!(limiter.try_acquire().is_none());
        drop(first);
        let permit = high.await.unwrap();
        assert!(is_waiting(low.as_mut()).await);
        drop(permit);
        low.await.unwrap();
        assert_eq!(
            limiter.state(),
            LimitState { limit: 1, waiting_max: 2, ..LimitState::default() }
        );
    });
}

#[test]
fn a_wait_ends_with_a_tenth_of_the_time_that_the_call_has() {
    block_on(async {
        let limiter = limiter(1);
        let _held = limiter.try_acquire().unwrap();
        let deadline = Some(Instant::now() + Duration::from_millis(50));
        let shed = limiter.acquire(Wish { deadline, ..wish(Priority::Normal, 1) }).await;
        assert_eq!(shed.unwrap_err(), Shed { retry_after: Duration::from_secs(1) });
        assert_eq!(
            limiter.state(),
            LimitState { limit: 1, waiting_max: 2, in_use: 1, waiting: 0, shed: 1 }
        );
    });
}

#[test]
fn when_the_queue_is_full_the_least_important_is_turned_away() {
    block_on(async {
        let limiter = limiter(1);
        limiter.took(Duration::from_secs(4));
        let held = limiter.try_acquire().unwrap();
        let mut low = Box::pin(limiter.acquire(wish(Priority::Low, 1)));
        let mut normal = Box::pin(limiter.acquire(wish(Priority::Normal, 1)));
        assert!(is_waiting(low.as_mut()).await && is_waiting(normal.as_mut()).await);

        let shed = limiter.acquire(wish(Priority::Low, 2)).await.unwrap_err();
        // Two wait for the only place, and each takes four seconds.
        assert_eq!(shed.retry_after, Duration::from_secs(12));

        let mut high = Box::pin(limiter.acquire(wish(Priority::High, 1)));
        assert!(is_waiting(high.as_mut()).await);
        assert!(low.await.is_err());
        drop(held);
        drop(high.await.unwrap());
        drop(normal.await.unwrap());
        assert_eq!(
            limiter.state(),
            LimitState { limit: 1, waiting_max: 2, shed: 2, ..LimitState::default() }
        );
    });
}

#[test]
fn a_shortened_queue_takes_nobody_new_and_lets_those_in_it_wait() {
    block_on(async {
        let limiter = limiter(2);
        let _held = [limiter.try_acquire().unwrap(), limiter.try_acquire().unwrap()];
        let wait = || Box::pin(limiter.acquire(wish(Priority::Normal, 1)));
        let mut waiting = [wait(), wait()];
        for one in &mut waiting {
            assert!(is_waiting(one.as_mut()).await);
        }
        limiter.shorten_queue(25);
        assert!(wait().await.is_err());
        assert_eq!(limiter.state().waiting, 2);
        limiter.shorten_queue(100);
        assert!(is_waiting(wait().as_mut()).await);
    });
}

#[test]
fn whoever_goes_away_leaves_its_place_and_its_permit() {
    block_on(async {
        let limiter = limiter(1);
        let held = limiter.try_acquire().unwrap();
        let mut gone = Box::pin(limiter.acquire(wish(Priority::Normal, 1)));
        let mut granted = Box::pin(limiter.acquire(wish(Priority::Normal, 1)));
        assert!(is_waiting(gone.as_mut()).await && is_waiting(granted.as_mut()).await);
        drop(gone);
        assert_eq!(limiter.state().waiting, 1);
        // The permit is on its way to one who does not look any more.
        drop(held);
        assert_eq!(limiter.state().in_use, 1);
        drop(granted);
        assert_eq!(
            limiter.state(),
            LimitState { limit: 1, waiting_max: 2, ..LimitState::default() }
        );
    });
}

#[test]
fn no_more_than_the_limit_are_in_at_once_with_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    let limiter = limiter(8);
    let (inside, most, let_in) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    runtime.block_on(async {
        std::thread::scope(|scope| {
            for caller in 0..8 {
                let (limiter, inside, most, let_in) = (&limiter, &inside, &most, &let_in);
                let handle = runtime.handle();
                scope.spawn(move || {
                    for _ in 0..200 {
                        let acquired =
                            handle.block_on(limiter.acquire(wish(Priority::Normal, caller)));
                        let Ok(permit) = acquired else { continue };
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        let_in.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
    });
    assert!(most.into_inner() <= 8);
    assert!(let_in.into_inner() > 0);
    assert_eq!(limiter.state().in_use, 0);
    assert_eq!(limiter.state().waiting, 0);
}

#[test]
fn every_priority_is_found_by_its_name() {
    for priority in Priority::ALL {
        assert_eq!(priority.to_string().parse(), Ok(priority));
    }
    assert!("urgent".parse::<Priority>().unwrap_err().to_string().contains("`urgent`"));
}

/// Polls once.
async fn is_waiting<F: Future + ?Sized>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}
