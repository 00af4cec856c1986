//! Numbers with units, for people.

/// What a number counts. It decides the floor under a shift and how the number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    /// 0 to 1.
    Ratio,
    /// 0 to 100.
    Percent,
    Cores,
    PerSecond,
    Count,
}

impl Unit {
    /// A shift smaller than this is of no interest, however steady the series was.
    pub(crate) fn floor(self) -> f64 {
        match self {
            Self::Seconds => 0.02,
            Self::Bytes => 4.0 * 1024.0 * 1024.0,
            Self::Ratio | Self::Cores => 0.05,
            Self::Percent => 5.0,
            Self::PerSecond => 0.5,
            Self::Count => 1.0,
        }
    }

    pub(crate) fn write(self, value: f64) -> String {
        match self {
            Self::Seconds => seconds(value),
            Self::Bytes => bytes(value),
            Self::Ratio => format!("{} %", plain(value * 100.0)),
            Self::Percent => format!("{} %", plain(value)),
            Self::Cores => format!("{value:.2} cores"),
            Self::PerSecond => format!("{}/s", plain(value)),
            Self::Count => plain(value),
        }
    }
}

pub(crate) fn seconds(value: f64) -> String {
    if value.abs() >= 120.0 {
        format!("{:.1} min", value / 60.0)
    } else if value.abs() >= 1.0 {
        format!("{value:.1} s")
    } else {
        format!("{} ms", plain(value * 1_000.0))
    }
}

fn bytes(value: f64) -> String {
    const STEPS: [(f64, &str); 3] =
        [(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1_024.0, "KiB")];
    match STEPS.iter().find(|(size, _)| value.abs() >= *size) {
        Some((size, name)) => format!("{} {name}", plain(value / size)),
        None => format!("{} B", plain(value)),
    }
}

/// Three significant digits at the most, no trailing zeros.
fn plain(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_naturally() {
        let check = |unit: Unit, value, expected| assert_eq!(unit.write(value), expected);
        check(Unit::Seconds, 0.0123, "12.3 ms");
        check(Unit::Seconds, 1.25, "1.2 s");
        check(Unit::Seconds, 600.0, "10.0 min");
        check(Unit::Bytes, 104_857_600.0, "100 MiB");
        check(Unit::Ratio, 0.5, "50 %");
        check(Unit::Cores, 0.984, "0.98 cores");
        check(Unit::PerSecond, 35.0, "35/s");
        check(Unit::Count, 0.0, "0");
    }
}
