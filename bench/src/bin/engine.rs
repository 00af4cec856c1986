//! What a step of a graph costs without a store: processor time of the whole process, and steps per second.
//!
//! `cargo xtask bench engine` runs this and then the durable cases.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_bench::{cpu, figure, provenance, say};
use agentry_core::{Clock, Timestamp};
use agentry_engine::node::from_fn;
use agentry_engine::{
    END, Goto, Graph, GraphBuilder, Local, Node, NodeOutput, Program, Reducer, Request, START,
};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};

/// As the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long each case is repeated.
const LONG: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when even this cannot be written.
            let _ = say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is where a program gets its time")]
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let micros = now.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
        Timestamp::from_micros(micros)
    }
}

fn run() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    say(&provenance().to_string())?;
    runtime.block_on(async {
        case("sequence of 100 nodes", &sequence(100)?, (100, Map::new())).await?;
        case("sequence of 1000 nodes", &sequence(1_000)?, (1_000, Map::new())).await?;
        case("loop of 1000 steps", &looping(1_000)?, (1_000, Map::new())).await?;
        case("1000 state keys", &looping(1_000)?, (1_000, wide(1_000))).await?;
        case("static fan-out of 1000", &fan_out(1_000)?, (1_001, Map::new())).await?;
        case("sent fan-out of 1000", &sent(1_000)?, (1_001, Map::new())).await?;
        many(&looping(10)?).await
    })
}

/// Runs a graph of `steps` steps again and again.
async fn case(
    name: &str,
    program: &Program,
    (steps, input): (u64, Map<String, Value>),
) -> Result<()> {
    once(program, &input).await?;
    let (before, started) = (cpu()?, Instant::now());
    let mut runs = 0_u64;
    while started.elapsed() < LONG {
        once(program, &input).await?;
        runs += 1;
    }
    let (wall, steps) = (started.elapsed().as_secs_f64(), (runs * steps) as f64);
    let used = cpu()? - before;
    figure(&format!("{name}: processor time per step"), used * 1e6 / steps, "us")?;
    figure(&format!("{name}: time per step"), wall * 1e6 / steps, "us")
}

/// A thousand threads with a run of ten steps each, at the same time.
async fn many(program: &Program) -> Result<()> {
    let (before, started) = (cpu()?, Instant::now());
    let mut runs = 0_u64;
    while started.elapsed() < LONG {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let program = program.clone();
            tasks.spawn(async move { once(&program, &Map::new()).await });
        }
        while let Some(done) = tasks.join_next().await {
            done.context("a run ends")??;
            runs += 1;
        }
    }
    let used = cpu()? - before;
    let per_second = runs as f64 / started.elapsed().as_secs_f64();
    figure("1000 runs of 10 steps: runs per second", per_second, "1/s")?;
    let per_step = used * 1e5 / runs as f64;
    figure("1000 runs of 10 steps: processor time per step", per_step, "us")
}

async fn once(program: &Program, input: &Map<String, Value>) -> Result<()> {
    let mut local = Local::new(program.clone(), Arc::new(Wall));
    let rests = local.run(Request::Input(input.clone())).await?;
    ensure!(*rests == agentry_engine::Rests::Idle, "the run ends with {rests:?}");
    Ok(())
}

fn counting() -> impl Node + use<> {
    from_fn(|_, state| {
        Box::pin(async move {
            let n = state.get("n").and_then(Value::as_i64).unwrap_or(0);
            Ok(NodeOutput::done().update("n", n + 1))
        })
    })
}

fn adding() -> impl Node + use<> {
    from_fn(|_, _| Box::pin(async move { Ok(NodeOutput::done().update("sum", 1)) }))
}

fn start(name: &str) -> GraphBuilder {
    Graph::builder(name)
        .open_ended()
        .steps_max(100_000)
        .channel("n", Reducer::Last)
        .channel("sum", Reducer::Sum)
}

fn sequence(nodes: u32) -> Result<Program> {
    let mut builder = start("sequence").edge(START, "n0");
    for number in 0..nodes {
        let (here, next) = (format!("n{number}"), format!("n{}", number + 1));
        let next = if number + 1 == nodes { END.to_owned() } else { next };
        builder = builder.node(&here, counting()).edge(&here, &next);
    }
    Ok(builder.build()?)
}

fn looping(steps: i64) -> Result<Program> {
    let on = move |state: &agentry_core::run::Values| {
        let n = state.get("n").and_then(Value::as_i64).unwrap_or(0);
        vec![if n < steps { "f".to_owned() } else { END.to_owned() }]
    };
    let builder = start("loop").node("f", counting()).edge(START, "f");
    Ok(builder.choose("f", "on", ["f", END], on).build()?)
}

fn wide(keys: u32) -> Map<String, Value> {
    (0..keys).map(|number| (format!("key{number}"), "value".into())).collect()
}

fn fan_out(width: u32) -> Result<Program> {
    let names: Vec<_> = (0..width).map(|number| format!("n{number:04}")).collect();
    let mut builder = start("fan-out").node("join", adding());
    for name in &names {
        builder = builder.node(name, adding()).edge(START, name);
    }
    Ok(builder.join(names.iter().map(String::as_str), "join").build()?)
}

fn sent(width: u32) -> Result<Program> {
    let sends = move |_: &agentry_core::run::Values| {
        Ok((0..width).map(|number| Goto::send("work", json!({ "n": number }))).collect())
    };
    let builder = start("sent").node("work", adding()).node("join", adding());
    Ok(builder.branch(START, "spread", ["work"], sends).edge("work", "join").build()?)
}
