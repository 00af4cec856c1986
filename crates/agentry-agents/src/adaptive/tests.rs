use super::*;

const GOOD: Measured = Measured { success: true, latency_ms: 1_000, cost: MicroUsd(1_000) };
const BAD: Measured = Measured { success: false, latency_ms: 1_000, cost: MicroUsd(1_000) };
const SLOW: Measured = Measured { success: true, latency_ms: 20_000, cost: MicroUsd(90_000) };

/// Uses what is chosen as often as `rounds` says; `world` tells what comes of it. Answers every switch.
fn play(
    history: &mut History,
    settings: &Settings,
    rounds: usize,
    world: impl Fn(&str, usize) -> Measured,
) -> Vec<String> {
    let mut switches = Vec::new();
    for round in 0..rounds {
        let Choice { name, switched } = history.choose(settings);
        if let Some(Switch { from, why }) = switched {
            switches.push(format!("{round}: {from} → {name}, {why:?}"));
        }
        history.record(&name, world(&name, round), settings).unwrap();
    }
    switches
}

#[test]
fn the_best_strategy_is_found_and_kept() {
    let settings = Settings::default();
    let mut history = History::new(["react", "direct", "plan"]).unwrap();
    let world = |name: &str, _| match name {
        "react" => SLOW,
        "direct" => GOOD,
        _ => BAD,
    };
    let switches = play(&mut history, &settings, 300, world);
    assert_eq!(history.current(), "direct");
    let expected =
        ["5: react → direct, Untried", "10: direct → plan, Untried", "13: plan → direct, Failing"];
    assert_eq!(switches.get(..3).unwrap(), expected);
    let used = history.standings(&settings);
    let share = |name: &str| used.iter().find(|one| one.name == name).unwrap().measured;
    assert_eq!(share("direct"), settings.window, "{switches:?}");
    assert!(switches.len() < 30, "it does not flutter: {switches:?}");
}

#[test]
fn a_strategy_that_turns_bad_is_left_at_once() {
    let settings = Settings { curiosity: 0.0, ..Settings::default() };
    let mut history = History::new(["a", "b"]).unwrap();
    let world = |name: &str, round: usize| if name == "a" && round >= 20 { BAD } else { GOOD };
    let switches = play(&mut history, &settings, 60, world);
    assert_eq!(switches, ["23: a → b, Failing"]);
}

#[test]
fn a_little_better_is_no_reason_to_switch() {
    let settings = Settings { curiosity: 0.0, ..Settings::default() };
    let check = |latency_ms: u64, expected: &str| {
        let mut history = History::new(["a", "b"]).unwrap();
        for _ in 0..10 {
            history.record("a", GOOD, &settings).unwrap();
            history.record("b", Measured { latency_ms, ..GOOD }, &settings).unwrap();
        }
        let chosen = history.choose(&settings).name;
        assert_eq!(chosen, "a", "both are as good at {latency_ms}");
        for _ in 0..10 {
            history.record("a", Measured { latency_ms: 9_000, ..GOOD }, &settings).unwrap();
        }
        assert_eq!(history.choose(&settings).name, expected, "{latency_ms}");
    };
    check(1_000, "a");
    check(0, "a");
    let mut history = History::new(["a", "b"]).unwrap();
    for _ in 0..10 {
        history.record("a", SLOW, &settings).unwrap();
        history.record("b", GOOD, &settings).unwrap();
    }
    let switch = Switch { from: "a".to_owned(), why: Why::Better };
    assert_eq!(history.choose(&settings), Choice { name: "b".to_owned(), switched: Some(switch) });
}

#[test]
fn the_same_history_makes_the_same_choice_after_being_stored() {
    let settings = Settings::default();
    let mut history = History::new(["a", "b", "c"]).unwrap();
    let world =
        |name: &str, round: usize| if name == "c" || round.is_multiple_of(3) { GOOD } else { BAD };
    play(&mut history, &settings, 40, world);
    let stored = serde_json::to_string(&history).unwrap();
    let mut again: History = serde_json::from_str(&stored).unwrap();
    let further = play(&mut history, &settings, 40, world);
    assert_eq!(play(&mut again, &settings, 40, world), further);
}

#[test]
fn what_cannot_be_chosen_from_is_refused() {
    let names: [&str; 0] = [];
    assert_eq!(History::new(names), Err(Error::None));
    assert_eq!(History::new(["a", "a"]), Err(Error::Duplicate("a".to_owned())));
    let mut history = History::new(["a"]).unwrap();
    let unknown = history.record("b", GOOD, &Settings::default());
    assert_eq!(unknown, Err(Error::Unknown("b".to_owned())));
    assert_eq!(history.choose(&Settings::default()).name, "a");
}
