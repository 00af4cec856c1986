use super::*;

#[test]
fn what_varies_is_masked_by_its_form() {
    let check = |message: &str, expected: &str| {
        let mut masked = String::new();
        mask(message, &mut masked);
        assert_eq!(masked, expected);
    };
    check("took 12ms for 3 items", "took <num> for <num> items");
    check("GET /cart/17 -> 200", "GET <path> -> <num>");
    check("from 10.1.2.3:8080: refused", "from <ip>: refused");
    check("order=123e4567-e89b-12d3-a456-426614174000, ok", "order=<id>, ok");
    check("at 2026-01-31T08:00:00.123Z done", "at <time> done");
    check("blk_-1608999687919862906 gone", "blk_-<num> gone");
    check("pointer 0xdeadbeef hash 9f86d081884c7d65", "pointer <hex> hash <hex>");
    check("größe 5 Ω=7", "größe <num> Ω=<num>");
    check("call https://a.example/b?c=1 failed", "call <url>=<num> failed");
    check("order o-3fa2b1c0 via cart-2", "order o-<hex> via cart-<num>");
    check("", "");
}

#[test]
fn messages_of_one_statement_share_a_template() {
    let check = |messages: &[&str], expected: &[&str]| {
        let mut miner = Miner::default();
        for message in messages {
            miner.learn(message);
        }
        let texts: Vec<String> = miner.templates().map(|(_, text, _)| text).collect();
        assert_eq!(texts, expected);
    };
    check(
        &[
            "charged card of alice with 12 EUR",
            "charged card of bob with 7 EUR",
            "charged card of carol with 7 EUR",
        ],
        &["charged card of <*> with <num> EUR"],
    );
    check(&["cache miss", "cache is cold"], &["cache miss", "cache is cold"]);
    check(
        &["connection to db refused now", "user said hello to everyone"],
        &["connection to db refused now", "user said hello to everyone"],
    );
}

#[test]
fn endless_variety_stays_bounded() {
    let mut miner = Miner::default();
    let word = |seed: usize| -> String {
        (0..6).map(|at| char::from(b'a' + ((seed >> (at * 3)) & 7) as u8)).collect()
    };
    for seed in 0..CLUSTERS_MAX * 3 {
        miner.learn(&format!("{} {} {}", word(seed), word(seed + 7), word(seed * 5)));
    }
    assert!(miner.templates().count() <= CLUSTERS_MAX + 1);
    assert_eq!(miner.templates().map(|(_, _, lines)| lines).sum::<u64>(), CLUSTERS_MAX as u64 * 3);
}
