//! The names of the strategies, as the configuration has them.

use std::fmt;
use std::str::FromStr;

/// How one of several targets is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// One after the other.
    RoundRobin,
    /// One after the other, by weight, and evenly spread: `a a b` becomes `a b a`.
    WeightedRoundRobin,
    /// The one with the fewest calls under way for its weight.
    LeastConnections,
    /// The one whose answers take the least time, times the calls under way.
    LeastResponseTime,
    /// By weight and chance.
    Random,
    /// The better of two taken by chance: by its latest peak of the time to first token, times the calls under way.
    #[default]
    PeakEwma,
    /// What has the same affinity goes to the same target, unless that has more than its share to do.
    ConsistentHash,
}

impl Strategy {
    pub const ALL: [Self; 7] = [
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::LeastConnections,
        Self::LeastResponseTime,
        Self::Random,
        Self::PeakEwma,
        Self::ConsistentHash,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::LeastConnections => "least_connections",
            Self::LeastResponseTime => "least_response_time",
            Self::Random => "random",
            Self::PeakEwma => "peak_ewma",
            Self::ConsistentHash => "consistent_hash",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no strategy `{name}`; there are: {}", Strategy::ALL.map(Strategy::as_str).join(", "))]
pub struct UnknownStrategy {
    name: String,
}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|strategy| strategy.as_str() == text)
            .ok_or_else(|| UnknownStrategy { name: text.chars().take(40).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_strategy_is_found_by_its_name() {
        for strategy in Strategy::ALL {
            assert_eq!(strategy.to_string().parse(), Ok(strategy));
        }
        let error = "fastest".parse::<Strategy>().unwrap_err().to_string();
        assert!(error.contains("`fastest`") && error.contains("peak_ewma"), "{error}");
    }
}
