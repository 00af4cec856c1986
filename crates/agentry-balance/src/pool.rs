//! The targets behind one name, and the choice among them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::breaker::{Admission, Cause, Ticket};
use crate::choose::{self, Hashed};
use crate::latency::Counts;
use crate::limit::Limiter;
use crate::picked::Picked;
use crate::retry::Outlook;
use crate::strategy::Strategy;
use crate::targets::Targets;
use crate::vitals::{Standing, Vitals};

/// A target of a pool. Its number is its place in the list.
#[derive(Debug, Clone)]
pub struct Member {
    pub vitals: Arc<Vitals>,
    /// From 1. One of weight 2 gets twice as much as one of weight 1.
    pub weight: u32,
    /// Which target it is, whatever else is in the pool: [`affinity`](crate::affinity) of its name will do.
    pub id: u64,
    /// Which model it is. Where one is refused for its length or its content, the same model elsewhere refuses it too.
    pub model: u64,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    strategy: Strategy,
    members: Box<[Member]>,
    turn: AtomicU64,
    /// Of [`choose::smooth`].
    credits: Mutex<Box<[i64]>>,
    /// Ejections are decided one at a time, or two could each rely on the other.
    ejecting: Mutex<()>,
}

/// Why a pool cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("there are no targets: add one `provider/model`")]
    Empty,
    #[error("there are {0} targets, at most {max} are possible: make two models of them", max = Targets::MAX)]
    TooMany(usize),
    #[error("target {0} has no weight: leave it out, or give it a weight of at least 1")]
    Weightless(usize),
}

/// What a call does with its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is read as it is written: what counts is the first token.
    Streamed,
    /// It is read whole.
    Whole,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    pub mode: Mode,
    /// What should go to the same target, where the strategy is [`Strategy::ConsistentHash`].
    pub affinity: Option<u64>,
    /// Who is not to be asked (again) by this call.
    pub tried: Targets,
    /// There is somebody to turn to beside these targets: those that do not pass their check are not tried.
    pub has_resort: bool,
    pub random: u64,
}

/// Nobody can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no target {why}: try again in {} s", after.as_secs_f32().ceil())]
pub struct Nobody {
    /// When somebody can, as far as is known.
    pub after: Duration,
    pub why: Why,
}

/// Of whoever can be asked soonest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// All were tried.
    Tried,
    /// It wants to be left alone for a while.
    Throttled,
    Shut(Cause),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tried => "that was not asked already",
            Self::Throttled => "that has not too much to do",
            Self::Shut(Cause::Failing | Cause::Outlier) => "that does not fail",
            Self::Shut(Cause::Credentials) => "that takes our key",
            Self::Shut(Cause::Check) => "that passes its check",
        })
    }
}

/// Everybody's standing at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Survey {
    free: Targets,
    soft: Targets,
    /// Of those that are shut, the outliers.
    outliers: Targets,
    /// Of those that are shut, those that do not pass their check.
    unseen: Targets,
    /// Those that are shut or wait for a probe.
    ill: Targets,
    due: Targets,
}

impl Pool {
    /// Members are numbered in their order.
    pub fn new(strategy: Strategy, members: Vec<Member>) -> Result<Self, Unusable> {
        if members.is_empty() {
            return Err(Unusable::Empty);
        }
        if members.len() > Targets::MAX {
            return Err(Unusable::TooMany(members.len()));
        }
        if let Some(target) = members.iter().position(|member| member.weight == 0) {
            return Err(Unusable::Weightless(target));
        }
        Ok(Self(Arc::new(Inner {
            strategy,
            turn: AtomicU64::new(0),
            credits: Mutex::new(vec![0; members.len()].into_boxed_slice()),
            ejecting: Mutex::new(()),
            members: members.into_boxed_slice(),
        })))
    }

    #[must_use]
    pub fn strategy(&self) -> Strategy {
        self.0.strategy
    }

    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.0.members
    }

    #[must_use]
    pub fn vitals(&self, target: usize) -> Option<&Arc<Vitals>> {
        self.0.members.get(target).map(|member| &member.vitals)
    }

    /// Chooses who is asked, and counts the call as under way until what is returned is told how it went, or dropped.
    pub fn pick(&self, now: Instant, ask: Ask) -> Result<Picked, Nobody> {
        let mut survey = self.survey(now);
        let fresh = self.all().without(ask.tried);
        // A call that failed once already is better off with somebody who is well.
        let is_spared = !ask.tried.is_empty() && !survey.free.or(survey.soft).and(fresh).is_empty();
        if !is_spared && let Some((target, ticket)) = self.probe(now, &mut survey, fresh) {
            return self.picked(now, ask, target, Some(ticket));
        }
        let open = self.open(survey);
        // A check may be wrong. When it leaves nobody at all, whoever calls finds out.
        let unseen = if ask.has_resort { Targets::NONE } else { survey.unseen };
        let choices = [open, survey.soft, survey.outliers, unseen];
        let choices = choices.map(|set| set.and(fresh));
        let Some(open) = choices.into_iter().find(|set| !set.is_empty()) else {
            return Err(self.nobody(now, fresh));
        };
        let roomy: Targets = open.filter(|&target| self.has_room(target)).collect();
        let open = if roomy.is_empty() { open } else { roomy };
        match self.choose(now, ask, open) {
            Some(target) => self.picked(now, ask, target, None),
            None => Err(self.nobody(now, fresh)),
        }
    }

    /// What a plan must know after `failed` has failed.
    #[must_use]
    pub fn outlook(&self, now: Instant, failed: usize) -> Outlook {
        let survey = self.survey(now);
        let model = self.0.members.get(failed).map(|member| member.model);
        let same_model = self
            .all()
            .filter(|&target| self.0.members.get(target).map(|member| member.model) == model);
        Outlook {
            failed,
            all: self.all(),
            open: self.open(survey).or(survey.soft).or(survey.due).or(survey.outliers),
            shut: survey.ill.without(survey.due).without(survey.outliers),
            same_model: same_model.collect(),
        }
    }

    /// The 95th percentile of the time to first token over all targets, and of how many calls.
    #[must_use]
    pub fn first_token_p95(&self, now: Instant) -> (Duration, u64) {
        let mut sums = Counts::default();
        for member in &self.0.members {
            member.vitals.add_first_tokens(now, &mut sums);
        }
        (sums.p95(), sums.calls())
    }

    /// Leaves an outlier alone, unless nobody else would be left.
    pub(crate) fn eject(&self, now: Instant, outlier: usize) -> Option<Cause> {
        let _one_at_a_time = self.0.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let others = self.all().without(Targets::one(outlier));
        if others.without(self.survey(now).ill).is_empty() {
            return None;
        }
        self.vitals(outlier)?.eject(now);
        Some(Cause::Outlier)
    }

    fn all(&self) -> Targets {
        Targets::first(self.0.members.len())
    }

    fn survey(&self, now: Instant) -> Survey {
        let mut survey = Survey::default();
        for (target, member) in self.0.members.iter().enumerate() {
            match member.vitals.standing(now) {
                Standing::Free => survey.free.insert(target),
                Standing::Soft => survey.soft.insert(target),
                Standing::Cooling(_) => {}
                Standing::Due(cause) => {
                    survey.due.insert(target);
                    survey.fell_ill(target, cause);
                }
                Standing::Shut(cause, _) => survey.fell_ill(target, cause),
            }
        }
        survey
    }

    /// Those that anybody may be sent to. When fewer than half are well, that includes the outliers: half an answer from
    /// each is better than a flood for the rest.
    fn open(&self, survey: Survey) -> Targets {
        let count = self.0.members.len();
        let is_panic = (count - survey.ill.len()) * 2 < count;
        if is_panic { survey.free.or(survey.outliers) } else { survey.free }
    }

    /// The right to probe somebody who may be well again.
    fn probe(&self, now: Instant, survey: &mut Survey, fresh: Targets) -> Option<(usize, Ticket)> {
        for target in survey.due.and(fresh) {
            match self.vitals(target)?.admit(now) {
                Admission::Probe(ticket) => return Some((target, ticket)),
                Admission::Refused => {}
                Admission::Free => {
                    survey.free.insert(target);
                    survey.ill = survey.ill.without(Targets::one(target));
                    survey.outliers = survey.outliers.without(Targets::one(target));
                    survey.unseen = survey.unseen.without(Targets::one(target));
                }
            }
        }
        None
    }

    fn choose(&self, now: Instant, ask: Ask, open: Targets) -> Option<usize> {
        let weight = |target: usize| self.0.members.get(target).map_or(1, |member| member.weight);
        let load = |target: usize| {
            let in_flight = self.vitals(target).map_or(0, |vitals| vitals.in_flight());
            // For the idle, weight is a matter of chance, or the heaviest would get everything.
            f64::from(in_flight) / f64::from(weight(target)) + 1.0
        };
        let peak = |target: usize| {
            let expected = self.vitals(target).map_or(0.0, |vitals| vitals.expected(now, ask.mode));
            expected * load(target)
        };
        let by_peak = || choose::two_choices(open, ask.random, weight, peak);
        match self.0.strategy {
            Strategy::RoundRobin => choose::nth(open, self.0.turn.fetch_add(1, Ordering::Relaxed)),
            Strategy::WeightedRoundRobin => {
                let mut credits = self.0.credits.lock().unwrap_or_else(PoisonError::into_inner);
                choose::smooth(open, &mut credits, weight)
            }
            Strategy::LeastConnections => choose::least(open, ask.random, weight, load),
            Strategy::LeastResponseTime => choose::least(open, ask.random, weight, |target| {
                self.vitals(target).map_or(0.0, |vitals| vitals.response_time(now)) * load(target)
            }),
            Strategy::Random => choose::weighted(open, ask.random, weight),
            Strategy::PeakEwma => by_peak(),
            Strategy::ConsistentHash => ask.affinity.map_or_else(by_peak, |key| {
                choose::hashed(open, key, |target| Hashed {
                    id: self.0.members.get(target).map_or(0, |member| member.id),
                    weight: weight(target),
                    in_flight: self.vitals(target).map_or(0, |vitals| vitals.in_flight()),
                })
            }),
        }
    }

    fn has_room(&self, target: usize) -> bool {
        let limiter = self.vitals(target).and_then(|vitals| vitals.limiter());
        limiter.is_none_or(Limiter::has_room)
    }

    fn picked(
        &self,
        now: Instant,
        ask: Ask,
        target: usize,
        ticket: Option<Ticket>,
    ) -> Result<Picked, Nobody> {
        let vitals = self.vitals(target).ok_or_else(|| self.nobody(now, Targets::NONE))?;
        Ok(Picked::new(self.clone(), Arc::clone(vitals), target, (ask.mode, now), ticket))
    }

    fn nobody(&self, now: Instant, fresh: Targets) -> Nobody {
        let waits = fresh.filter_map(|target| {
            Some(match self.vitals(target)?.standing(now) {
                Standing::Free | Standing::Soft => {
                    Nobody { after: Duration::ZERO, why: Why::Tried }
                }
                Standing::Cooling(after) => Nobody { after, why: Why::Throttled },
                Standing::Due(cause) => Nobody { after: Duration::ZERO, why: Why::Shut(cause) },
                Standing::Shut(cause, after) => Nobody { after, why: Why::Shut(cause) },
            })
        });
        let soonest = waits.min_by_key(|nobody| nobody.after);
        soonest.unwrap_or(Nobody { after: Duration::ZERO, why: Why::Tried })
    }
}

impl Survey {
    fn fell_ill(&mut self, target: usize, cause: Cause) {
        self.ill.insert(target);
        match cause {
            Cause::Outlier => self.outliers.insert(target),
            Cause::Check => self.unseen.insert(target),
            Cause::Failing | Cause::Credentials => {}
        }
    }
}

#[cfg(test)]
mod tests;
