//! What the filters of a template may cost together: each pays for what it is given and for what it makes of it.

use std::sync::LazyLock;

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

/// Parts of lists and objects and bytes of text, in one rendering.
const FUEL: u64 = 16 << 20;
/// The largest number that says how much of something there is to be.
const NUMBER_MAX: i64 = 1000;
const LEFT: &str = "@left";
/// What is made is something new. The others hand out what is there, or ask these for each part of a list.
const METERED: [&str; 24] = [
    "capitalize",
    "dictsort",
    "e",
    "escape",
    "format",
    "groupby",
    "indent",
    "items",
    "join",
    "lines",
    "list",
    "lower",
    "pprint",
    "replace",
    "reverse",
    "safe",
    "sort",
    "split",
    "string",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
];
/// What makes lists of lists that hold the same again and again, and what keeps values beyond a loop.
const FILTERS_LEFT_OUT: [&str; 4] = ["batch", "chain", "slice", "zip"];
const FUNCTIONS_LEFT_OUT: [&str; 3] = ["debug", "dict", "namespace"];

static BUILT_IN: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment
});

pub(super) fn install(environment: &mut Environment<'static>) {
    for name in FILTERS_LEFT_OUT {
        environment.remove_filter(name);
    }
    for name in FUNCTIONS_LEFT_OUT {
        environment.remove_global(name);
    }
    for name in METERED {
        let metered = move |state: &mut State<'_, '_>, given: Rest<ValueOrKwargs>| {
            filter(name, state, &given.into_values())
        };
        environment.add_filter(name, metered);
    }
}

fn filter(name: &str, state: &mut State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
    let size: u64 = given.iter().map(|value| size(value, FUEL)).sum();
    pay(state, size)?;
    pay(state, growth(name, given)?)?;
    BUILT_IN.empty_state().apply_filter(name, given)
}

fn pay(state: &mut State<'_, '_>, price: u64) -> Result<(), Error> {
    let left = state.get_temp(LEFT).and_then(|left| u64::try_from(left).ok()).unwrap_or(FUEL);
    let left = left.saturating_sub(price);
    state.set_temp(LEFT, left.into());
    if left == 0 { Err(Error::from(ErrorKind::OutOfFuel)) } else { Ok(()) }
}

/// What is made beyond the size of what is given.
fn growth(name: &str, given: &[Value]) -> Result<u64, Error> {
    let text = |at: usize| given.get(at).and_then(Value::as_str);
    let grown = match name {
        "indent" | "tojson" => {
            let number = given.iter().skip(1).flat_map(numbers).max().unwrap_or(0);
            if number > NUMBER_MAX {
                return Err(too_large(name));
            }
            let lines = match text(0) {
                Some(text) => 1 + text.matches('\n').count() as u64,
                // Each line as deep as few values are.
                None => given.first().map_or(0, |value| size(value, FUEL)).saturating_mul(8),
            };
            lines.saturating_mul(number.unsigned_abs())
        }
        "format" => {
            let digits =
                text(0).into_iter().flat_map(|text| text.split(|it: char| !it.is_ascii_digit()));
            let stars = text(0).is_some_and(|text| text.contains('*'));
            if stars || digits.into_iter().any(|number| number.len() > 3) {
                return Err(too_large(name));
            }
            0
        }
        "join" => {
            let items = given.first().and_then(Value::len).unwrap_or(0) as u64;
            items.saturating_mul(given.get(1).map_or(0, |between| size(between, FUEL)))
        }
        "replace" => match (text(0), text(1), text(2)) {
            (Some(text), Some(from), Some(to)) => {
                (text.matches(from).count() as u64).saturating_mul(to.len() as u64)
            }
            _ => 0,
        },
        _ => 0,
    };
    Ok(grown)
}

/// A number, also one that is given by its name.
fn numbers(value: &Value) -> Vec<i64> {
    match value.kind() {
        ValueKind::Map => {
            let names = value.try_iter().into_iter().flatten();
            names.filter_map(|name| value.get_item(&name).ok()?.as_i64()).collect()
        }
        _ => value.as_i64().into_iter().collect(),
    }
}

fn too_large(name: &str) -> Error {
    let message = format!("`{name}` is asked for more than {NUMBER_MAX} at once");
    Error::new(ErrorKind::InvalidOperation, message)
}

/// What a value holds, counted until it is more than `most`.
fn size(value: &Value, most: u64) -> u64 {
    if let Some(text) = value.as_str() {
        return 1 + text.len() as u64;
    }
    let mut sum = 1;
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
        return sum;
    }
    for item in value.try_iter().into_iter().flatten() {
        let Some(left) = most.checked_sub(sum) else { break };
        sum += size(&item, left);
        if value.kind() == ValueKind::Map {
            sum += value.get_item(&item).map_or(0, |member| size(&member, left));
        }
    }
    sum
}
