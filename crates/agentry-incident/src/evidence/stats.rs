//! The few robust statistics that the detectors share.

/// Makes the median absolute deviation comparable with a standard deviation.
const MAD_TO_SIGMA: f64 = 1.4826;
/// What is idle most of the time has no deviation to speak of, and yet its bursts are ordinary.
const BURST: f64 = 0.9;
const BURST_TO_SIGMA: f64 = 1.0 / 1.2816;
/// A change of the mean below this many sigmas is not accumulated.
const CUSUM_SLACK: f64 = 0.5;
const CUSUM_ALARM: f64 = 5.0;
/// One glitch alone must not reach the alarm.
const CUSUM_STEP_MAX: f64 = 4.0;
/// The part of an excursion that must lie beyond one sigma: a spike long before is not its beginning.
const LASTING: f64 = 0.7;

pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let (middle, odd) = (sorted.len() / 2, sorted.len() % 2 == 1);
    if sorted.is_empty() {
        return None;
    }
    let (below, upper, _) = sorted.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if odd {
        return Some(upper);
    }
    let lower = below.iter().copied().max_by(f64::total_cmp).unwrap_or(upper);
    Some(f64::midpoint(lower, upper))
}

/// The value below which `share` of the values lie.
pub(crate) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    if sorted.is_empty() {
        return None;
    }
    let rank = (((sorted.len() - 1) as f64) * share.clamp(0.0, 1.0)).round() as usize;
    let (_, value, _) = sorted.select_nth_unstable_by(rank, f64::total_cmp);
    Some(*value)
}

/// A robust mean and a robust standard deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Normal {
    pub(crate) median: f64,
    pub(crate) sigma: f64,
}

impl Normal {
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let median = median(values)?;
        let away: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
        let burst = (quantile(values, BURST)? - median) * BURST_TO_SIGMA;
        Some(Self { median, sigma: burst.max(MAD_TO_SIGMA * self::median(&away)?) })
    }

    /// The yardstick for a shift: jitter of an idle series must not look like an event.
    pub(crate) fn scale(&self, relative: f64, floor: f64) -> f64 {
        self.sigma.max(relative * self.median.abs()).max(floor).max(f64::MIN_POSITIVE)
    }
}

/// Where the mean of these standard scores left zero for good, if it did: the beginning of the largest excursion.
pub(crate) fn cusum_onset(scores: &[f64]) -> Option<Onset> {
    let up = largest_excursion(scores.iter().copied());
    let down = largest_excursion(scores.iter().map(|score| -score));
    let (largest, sign) = if up.height >= down.height { (up, 1.0) } else { (down, -1.0) };
    if largest.height <= CUSUM_ALARM {
        return None;
    }
    let beyond = |index: usize| scores.get(index).is_some_and(|score| score * sign > 1.0);
    let start = (largest.start..=largest.peak).find(|start| {
        let length = largest.peak - start + 1;
        let lasting = (*start..=largest.peak).filter(|index| beyond(*index)).count();
        beyond(*start) && lasting as f64 >= LASTING * length as f64
    })?;
    Some(Onset { index: start, height: largest.height })
}

/// Where a lasting change begins, and how much it adds up to, in sigmas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Onset {
    pub(crate) index: usize,
    pub(crate) height: f64,
}

#[derive(Default, Clone, Copy)]
struct Excursion {
    start: usize,
    peak: usize,
    height: f64,
}

fn largest_excursion(scores: impl Iterator<Item = f64>) -> Excursion {
    let (mut largest, mut start, mut sum) = (Excursion::default(), 0, 0.0_f64);
    for (index, score) in scores.enumerate() {
        if sum <= 0.0 {
            start = index;
        }
        let score =
            if score.is_finite() { score.clamp(-CUSUM_STEP_MAX, CUSUM_STEP_MAX) } else { 0.0 };
        sum = (sum + score - CUSUM_SLACK).max(0.0);
        if sum > largest.height {
            largest = Excursion { start, peak: index, height: sum };
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_one_wild_value() {
        assert_eq!(median(&[1.0, 2.0, 1e9]), Some(2.0));
        assert_eq!(median(&[1.0, 2.0, 3.0, 4.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_constant_series_is_measured_by_the_floor() {
        let normal = Normal::of(&[5.0; 10]).unwrap();
        assert_eq!(normal, Normal { median: 5.0, sigma: 0.0 });
        let bursts = Normal::of(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.0, 9.0, 9.0]).unwrap();
        assert!(bursts.sigma > 5.0, "{bursts:?}");
        assert!((normal.scale(0.1, 0.2) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn cusum_finds_the_first_index_of_a_lasting_change_and_not_a_glitch() {
        let check = |scores: &[f64], expected| {
            assert_eq!(cusum_onset(scores).map(|onset| onset.index), expected, "{scores:?}");
        };
        check(&[0.1, -0.2, 0.3, 0.0, 6.0, 6.0, 6.0], Some(4));
        check(&[0.1, -0.2, -5.0, -6.0, -5.0], Some(2));
        check(&[0.1, -0.2, 40.0, 0.0, -0.1, 0.2, 0.0, 0.1, 0.0], None);
        check(&[0.2; 50], None);
        check(&[0.0, 4.0, 4.0, 0.0, 0.0, 0.0, 0.0, 4.0, 4.0, 4.0, 4.0, 4.0], Some(7));
    }
}
