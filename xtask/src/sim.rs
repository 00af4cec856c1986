//! `cargo xtask sim`: tells as many simulated stories as somebody has time for.

use anyhow::{Context as _, Result, bail, ensure};

use crate::terminal::say;
use crate::watchdog::Watched;
use crate::workspace::{Workspace, cargo_path};

/// How many seeds nobody waits for in CI.
const SEEDS: u64 = 10_000;
const TEST: [&str; 9] = [
    "test",
    "--quiet",
    "-p",
    "agentry-engine",
    "--test",
    "sim",
    "whatever_goes_wrong",
    "--",
    "--nocapture",
];

#[derive(Debug, PartialEq, Eq)]
struct Options {
    first: u64,
    seeds: u64,
}

pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let Options { first, seeds } = Options::parse(args)?;
    say(&format!("{seeds} seeds from {first}"));
    let test = Watched::new(cargo_path())
        .args(TEST)
        .current_dir(&workspace.root)
        .variable("AGENTRY_SIM_FIRST", Some(first.to_string().into()))
        .variable("AGENTRY_SIM_SEEDS", Some(seeds.to_string().into()));
    let status = test.spawn()?.wait()?;
    ensure!(
        status.success(),
        "a seed went wrong; `cargo xtask sim --first N --seeds 1` tells its whole story"
    );
    Ok(())
}

impl Options {
    fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self { first: 0, seeds: SEEDS };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let target = match word.as_str() {
                "--seeds" => &mut options.seeds,
                "--first" => &mut options.first,
                other => bail!("no option `{other}`; there is: --seeds N, --first K"),
            };
            let number = words.next().with_context(|| format!("`{word}` needs a number"))?;
            let what = || format!("`{word}` needs a number, not `{number}`");
            *target = number.parse().with_context(what)?;
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_anything_else_is_refused() {
        let check = |line: &str, expected: Option<(u64, u64)>| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let expected = expected.map(|(first, seeds)| Options { first, seeds });
            assert_eq!(Options::parse(&words).ok(), expected, "{line}");
        };
        check("", Some((0, 10_000)));
        check("--seeds 20 --first 7", Some((7, 20)));
        check("--first 7", Some((7, 10_000)));
        check("--seeds", None);
        check("--seeds many", None);
        check("--all", None);
    }
}
