//! Drops the code of this very process while it runs.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Kilobytes of the program's file that are mapped and in memory.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let value = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<usize>().ok()
    };
    Some(value("RssFile:")? + value("RssShmem:")?)
}

#[test]
fn code_goes_and_whoever_needs_it_never_notices() {
    static WORDS: [&str; 3] = ["one", "two", "three"];

    let over = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let mut done = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(format!("{}", WORDS.join("-")), "one-two-three");
                    done += 1;
                }
                done
            })
        })
        .collect();
    let before = resident().unwrap();
    for _ in 0..100 {
        assert!(agentry_resident::release_code().unwrap() > 0);
    }
    let after = resident().unwrap();
    over.store(true, Ordering::Relaxed);
    assert!(workers.into_iter().all(|worker| worker.join().unwrap() > 0));
    assert!(after < before, "{before} kB before, {after} kB after");
}
