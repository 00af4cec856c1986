//! Four upstreams in virtual time, called through a real pool.
//!
//! 60 calls a second for 240 seconds; each upstream serves 40 at once and queues the rest; answers take a log-normal time,
//! a quarter of it to the first token. For one minute, one upstream may be ill. Nothing is retried.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_balance::{
    Ask, Blame, BreakerSettings, Dice, HealthSettings, Member, Mode, OutlierSettings, Picked, Pool,
    Settings, Strategy, Targets, Unusable, Vitals, affinity,
};

const UPSTREAMS: usize = 4;
const SERVED_AT_ONCE: usize = 40;
const CALLS_PER_SECOND: f64 = 60.0;
const SECONDS: f64 = 240.0;
const ILL: std::ops::Range<f64> = 60.0..120.0;
const SESSIONS: u64 = 500;
const MEDIAN: f64 = 0.8;
const SPREAD: f64 = 0.55;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It answers 500 within 5 ms.
    FailsFast,
    /// Everything takes five times as long.
    Slow,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) strategy: Strategy,
    /// Whether targets are left alone that fail.
    pub(crate) ejects: bool,
    pub(crate) fault: Fault,
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) success_percent: f64,
    /// Of the calls that were answered.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// How long after it was well again the ill one was used like any other. Nothing when it never was left alone.
    pub(crate) back_after: Option<f64>,
}

/// In nanoseconds, so that events are ordered.
type Nanos = u64;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    FirstToken(usize),
    Ends(usize),
    Fails(usize),
}

struct Call {
    arrived: Nanos,
    picked: Option<Picked>,
}

#[derive(Default)]
struct Upstream {
    serving: usize,
    queue: VecDeque<usize>,
}

struct World {
    setup: Setup,
    start: Instant,
    dice: Dice,
    pool: Pool,
    events: BinaryHeap<Reverse<(Nanos, u64, Event)>>,
    scheduled: u64,
    calls: Vec<Call>,
    upstreams: [Upstream; UPSTREAMS],
    latencies: Vec<f64>,
    /// When the ill one was probed last.
    probed: Option<f64>,
    back: Option<f64>,
}

pub(crate) fn run(setup: Setup) -> Result<Outcome, Unusable> {
    let mut world = World::new(setup)?;
    world.schedule(0, Event::Arrives);
    while let Some(Reverse((now, _, event))) = world.events.pop() {
        match event {
            Event::Arrives => world.arrives(now),
            Event::FirstToken(call) => world.first_token(now, call),
            Event::Ends(call) => world.ends(now, call),
            Event::Fails(call) => world.fails(now, call),
        }
    }
    Ok(world.outcome())
}

impl World {
    fn new(setup: Setup) -> Result<Self, Unusable> {
        let start = Instant::now();
        let settings = if setup.ejects { Settings::default() } else { never_ejects() };
        let members = (0..UPSTREAMS).map(|target| Member {
            vitals: Arc::new(Vitals::new(settings, start)),
            weight: 1,
            id: affinity(&target.to_le_bytes()),
            model: 0,
        });
        Ok(Self {
            setup,
            start,
            dice: Dice::new(setup.seed),
            pool: Pool::new(setup.strategy, members.collect())?,
            events: BinaryHeap::new(),
            scheduled: 0,
            calls: Vec::new(),
            upstreams: Default::default(),
            latencies: Vec::new(),
            probed: None,
            back: None,
        })
    }

    fn arrives(&mut self, now: Nanos) {
        let next = seconds(now) - (1.0 - self.chance()).ln() / CALLS_PER_SECOND;
        if next < SECONDS {
            self.schedule(nanos(next), Event::Arrives);
        }
        let ask = Ask {
            has_resort: false,
            mode: Mode::Streamed,
            affinity: Some(affinity(&(self.dice.roll() % SESSIONS).to_le_bytes())),
            tried: Targets::NONE,
            random: self.dice.roll(),
        };
        let picked = self.pool.pick(self.at(now), ask).ok();
        let call = self.calls.len();
        let target = picked.as_ref().map(Picked::target);
        if picked.as_ref().is_some_and(Picked::is_probe) {
            (self.probed, self.back) = (Some(seconds(now)), None);
        } else if target == Some(0) && self.probed.is_some() {
            self.back.get_or_insert_with(|| seconds(now));
        }
        self.calls.push(Call { arrived: now, picked });
        let Some(target) = target else { return };
        if self.setup.fault == Fault::FailsFast && is_ill(now, target) {
            return self.schedule(now + 5_000_000, Event::Fails(call));
        }
        let Some(upstream) = self.upstreams.get_mut(target) else { return };
        if upstream.serving < SERVED_AT_ONCE {
            upstream.serving += 1;
            self.serve(now, call, target);
        } else {
            upstream.queue.push_back(call);
        }
    }

    fn serve(&mut self, now: Nanos, call: usize, target: usize) {
        let normal = (-2.0 * (1.0 - self.chance()).ln()).sqrt()
            * (std::f64::consts::TAU * self.chance()).cos();
        let mut time = MEDIAN * (SPREAD * normal).exp();
        if self.setup.fault == Fault::Slow && is_ill(now, target) {
            time *= 5.0;
        }
        self.schedule(now + nanos(time / 4.0), Event::FirstToken(call));
        self.schedule(now + nanos(time), Event::Ends(call));
    }

    fn first_token(&mut self, now: Nanos, call: usize) {
        let at = self.at(now);
        if let Some(picked) = self.calls.get_mut(call).and_then(|call| call.picked.as_mut()) {
            picked.first_token(at);
        }
    }

    fn ends(&mut self, now: Nanos, call: usize) {
        let at = self.at(now);
        let Some(Call { arrived, picked }) = self.calls.get_mut(call) else { return };
        let Some(picked) = picked.take() else { return };
        self.latencies.push(seconds(now - *arrived));
        let target = picked.target();
        picked.succeed(at);
        let Some(upstream) = self.upstreams.get_mut(target) else { return };
        match upstream.queue.pop_front() {
            Some(next) => self.serve(now, next, target),
            None => upstream.serving -= 1,
        }
    }

    fn fails(&mut self, now: Nanos, call: usize) {
        let at = self.at(now);
        if let Some(picked) = self.calls.get_mut(call).and_then(|call| call.picked.take()) {
            picked.fail(at, Blame::Target { retry_after: None });
        }
    }

    fn outcome(mut self) -> Outcome {
        self.latencies.sort_by(f64::total_cmp);
        let answered = self.latencies.len();
        let quantile = |percent: usize| {
            let rank = (answered * percent).div_ceil(100).saturating_sub(1);
            self.latencies.get(rank).copied().unwrap_or(f64::NAN)
        };
        Outcome {
            success_percent: answered as f64 * 100.0 / self.calls.len() as f64,
            p50: quantile(50),
            p99: quantile(99),
            back_after: self.back.map(|back| back - ILL.end),
        }
    }

    fn schedule(&mut self, at: Nanos, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((at, self.scheduled, event)));
    }

    fn at(&self, now: Nanos) -> Instant {
        self.start + Duration::from_nanos(now)
    }

    /// From 0 to below 1.
    fn chance(&self) -> f64 {
        (self.dice.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn is_ill(now: Nanos, target: usize) -> bool {
    target == 0 && ILL.contains(&seconds(now))
}

fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e9
}

fn nanos(seconds: f64) -> Nanos {
    (seconds * 1e9) as Nanos
}

fn never_ejects() -> Settings {
    let breaker = BreakerSettings { failures: u32::MAX, ..BreakerSettings::default() };
    let outlier =
        OutlierSettings { failures: u32::MAX, calls_min: u32::MAX, ..OutlierSettings::default() };
    let health = HealthSettings { breaker, outlier, ..HealthSettings::default() };
    Settings { health, ..Settings::default() }
}
