//! What a call's balancing costs: `cargo run --release -p agentry-balance --example cost`. Nanoseconds, the clock not included.

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_balance::{
    Ask, Blame, Dice, Hedge, LimitSettings, Limiter, Member, Mode, Pool, RetryBudget, Settings,
    Strategy, Targets, Unusable, Vitals, affinity,
};

const CALLS: u32 = 200_000;
const ROUNDS: u32 = 5;

fn main() -> std::io::Result<()> {
    let start = Instant::now();
    for strategy in Strategy::ALL {
        for targets in [2, 8, 64] {
            let pool = pool(strategy, targets, None, start).map_err(std::io::Error::other)?;
            let name = format!("{strategy}, {targets} targets: a streamed call");
            report(&name, || call(&pool, start))?;
        }
    }
    let limited = pool(Strategy::PeakEwma, 8, Some(LimitSettings::default()), start);
    let limited = limited.map_err(std::io::Error::other)?;
    report("peak_ewma, 8 targets with a limit: a streamed call", || call(&limited, start))?;

    let limiter = Limiter::new(LimitSettings::default(), start);
    report("a permit taken and given back", || {
        black_box(limiter.try_acquire());
    })?;
    let budget = RetryBudget::new(start);
    report("a retry budget's deposit", || budget.deposit(start))?;
    report("a retry budget's withdrawal", || {
        black_box(budget.withdraw(start));
    })?;
    let hedge = Hedge::new(start);
    report("when to hedge", || {
        black_box(hedge.after(&limited, start));
    })?;
    let prompt = vec![b'x'; 1_024];
    report("the affinity of 1 KiB", || {
        black_box(affinity(black_box(&prompt)));
    })
}

/// Picked, one first token, a good end; one of a hundred fails.
fn call(pool: &Pool, start: Instant) {
    static DICE: Dice = Dice::new(1);
    let random = DICE.roll();
    let ask = Ask {
        mode: Mode::Streamed,
        affinity: Some(random),
        tried: Targets::NONE,
        has_resort: false,
        random,
    };
    let Ok(mut picked) = pool.pick(start, ask) else { return };
    let later = start + Duration::from_millis(500);
    picked.first_token(later);
    if random.is_multiple_of(100) {
        picked.fail(later, Blame::Target { retry_after: None });
    } else {
        picked.succeed(later);
    }
}

fn pool(
    strategy: Strategy,
    targets: u64,
    limit: Option<LimitSettings>,
    start: Instant,
) -> Result<Pool, Unusable> {
    let members = (0..targets).map(|target| Member {
        vitals: Arc::new(Vitals::new(Settings { limit, ..Settings::default() }, start)),
        weight: 1,
        id: target,
        model: 0,
    });
    Pool::new(strategy, members.collect())
}

/// The best of some rounds: what is slower is somebody else's work.
fn report(name: &str, operation: impl Fn()) -> std::io::Result<()> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..CALLS {
            operation();
        }
        best = best.min(start.elapsed());
    }
    let nanos = best.as_nanos() / u128::from(CALLS);
    writeln!(std::io::stdout(), "{nanos:>6}  {name}")
}
