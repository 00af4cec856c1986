//! OpenMetrics text as Prometheus' older format, for everything that does not ask for the newer one.

use std::collections::HashSet;

/// A counter is described under the name that its sample has; marks of the newer format are left out.
pub(super) fn classic(openmetrics: &str) -> String {
    let counters: HashSet<&str> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(openmetrics.len() + 256);
    for line in openmetrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        match described(line) {
            Some((what, name, rest)) if counters.contains(name) => {
                text.extend(["# ", what, " ", name, "_total ", rest, "\n"]);
            }
            Some(_) | None => text.extend([line, "\n"]),
        }
    }
    text
}

/// `# HELP NAME …` or `# TYPE NAME …`.
fn described(line: &str) -> Option<(&'static str, &str, &str)> {
    let (what, rest) = ["HELP", "TYPE"].into_iter().find_map(|what| {
        Some((what, line.strip_prefix("# ")?.strip_prefix(what)?.strip_prefix(' ')?))
    })?;
    let (name, rest) = rest.split_once(' ')?;
    Some((what, name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_described_by_the_name_of_its_sample() {
        let openmetrics = "# HELP calls Calls.\n# TYPE calls counter\n# UNIT calls calls\ncalls_total{a=\"# EOF\"} 1\n# HELP open Open.\n# TYPE open gauge\nopen 2\n# EOF\n";
        let expected = "# HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total{a=\"# EOF\"} 1\n# HELP open Open.\n# TYPE open gauge\nopen 2\n";
        assert_eq!(classic(openmetrics), expected);
    }
}
