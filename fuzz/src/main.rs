//! Feeds targets with mutated inputs, on any compiler: `agentry-fuzz TARGET… --seconds N`.
//!
//! It knows nothing of the code, but for the number that a target returns: inputs that lead somewhere new are kept for
//! this run and mutated further. The same seed gives the same inputs, as long as nobody stops it earlier.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use agentry_fuzz::{TARGETS, Target, target};

mod mutate;

use mutate::Mutator;

/// Longer than this for one input is a finding.
const SLOW: Duration = Duration::from_secs(1);
/// Enough to see what is wrong.
const FINDINGS_MAX: usize = 5;
const KEPT_MAX: usize = 4_096;

struct Options {
    targets: Vec<(String, Target)>,
    seconds: u64,
    seed: u64,
    /// Runs only these, each once.
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!(
                "{problem}\nusage: agentry-fuzz TARGET… [--seconds N] [--seed N] [--file PATH]"
            );
            let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            eprintln!("targets: all {}", names.join(" "));
            return ExitCode::from(2);
        }
    };
    // What a finding says is told once, with its file.
    std::panic::set_hook(Box::new(|_| {}));
    let mut findings = 0;
    for (name, target) in &options.targets {
        findings += if options.files.is_empty() {
            fuzz(name, *target, &options)
        } else {
            let told = options.files.iter().map(|path| replay(name, *target, path));
            told.filter(|found| *found).count()
        };
    }
    ExitCode::from(u8::from(findings > 0))
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { targets: Vec::new(), seconds: 60, seed: 1, files: Vec::new() };
    while let Some(arg) = args.next() {
        let mut number = || {
            let value = args.next().and_then(|value| value.parse().ok());
            value.ok_or_else(|| format!("{arg} wants a number"))
        };
        match arg.as_str() {
            "--seconds" => options.seconds = number()?,
            "--seed" => options.seed = number()?,
            "--file" => options.files.push(args.next().ok_or("--file wants a path")?.into()),
            "all" => {
                options
                    .targets
                    .extend(TARGETS.iter().map(|(name, run)| ((*name).to_owned(), *run)));
            }
            name => match target(name) {
                Some(run) => options.targets.push((name.to_owned(), run)),
                None => return Err(format!("there is no target `{name}`")),
            },
        }
    }
    if options.targets.is_empty() { Err("name a target".to_owned()) } else { Ok(options) }
}

/// Says how many findings there were.
fn fuzz(name: &str, target: Target, options: &Options) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = corpus(&folder.join("corpus").join(name));
    let mut kept = corpus.clone();
    let mut mutator = Mutator::new(options.seed, corpus.clone());
    let mut known = HashSet::new();
    let mut told = HashSet::new();
    let mut inputs = 0_u64;
    let began = Instant::now();
    let end = began + Duration::from_secs(options.seconds);
    let mut fixed = corpus.into_iter();
    while Instant::now() < end && told.len() < FINDINGS_MAX {
        let input = fixed.next().unwrap_or_else(|| mutator.next(&kept));
        inputs += 1;
        match run(target, &input) {
            Ok(shape) => {
                if known.insert(shape) && kept.len() < KEPT_MAX {
                    kept.push(input);
                }
            }
            Err(finding) => {
                if told.insert(finding.kind.clone()) {
                    let path = save(&folder.join("findings"), name, &input);
                    println!("{name}: {}\n  {}", path.display(), finding.text);
                }
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let found = match told.len() {
        0 => "no finding".to_owned(),
        count => format!("{count} FINDINGS"),
    };
    println!("{name:<20} {inputs:>10} inputs {:>6} ways {seconds:>7.1} s  {found}", known.len());
    told.len()
}

struct Finding {
    /// The same for inputs that show the same.
    kind: String,
    text: String,
}

fn run(target: Target, input: &[u8]) -> Result<u64, Finding> {
    let began = Instant::now();
    let result = catch_unwind(|| target(input));
    let waited = began.elapsed();
    match result {
        Ok(shape) if waited > SLOW => match processor_time(target, input) {
            took if took > SLOW => {
                let text = format!("it took {:.1} s", took.as_secs_f64());
                Err(Finding { kind: "slow".to_owned(), text })
            }
            _ => Ok(shape),
        },
        Ok(shape) => Ok(shape),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let text = text.unwrap_or_else(|| "it panicked".to_owned());
            let kind = text.chars().take(40).collect();
            Err(Finding { kind, text: text.chars().take(2_000).collect() })
        }
    }
}

/// What one more run takes of a processor, or by the clock where the system does not tell. A busy machine is not a finding.
fn processor_time(target: Target, input: &[u8]) -> Duration {
    let used = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    };
    let (before, began) = (used(), Instant::now());
    let _ = catch_unwind(|| target(input));
    match (before, used()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        _ => began.elapsed(),
    }
}

fn replay(name: &str, target: Target, path: &Path) -> bool {
    let input = std::fs::read(path).expect("a file that can be read");
    match run(target, &input) {
        Ok(_) => println!("{name}: {}: no finding", path.display()),
        Err(finding) => {
            println!("{name}: {}: {}", path.display(), finding.text);
            return true;
        }
    }
    false
}

fn corpus(folder: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    // The order of a folder is nobody's promise.
    files.sort();
    files.iter().filter_map(|file| std::fs::read(file).ok()).collect()
}

fn save(folder: &Path, name: &str, input: &[u8]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let path = folder.join(format!("{name}-{:016x}", hasher.finish()));
    std::fs::create_dir_all(folder).expect("a folder for findings");
    std::fs::write(&path, input).expect("a file for the finding");
    path
}
