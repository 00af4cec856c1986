//! How many tokens a call took.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// All of the prompt, whether it was cached or not.
    pub input_tokens: u64,
    /// The part of `input_tokens` that the upstream had cached.
    pub cached_input_tokens: u64,
    /// All that was written, reasoning included.
    pub output_tokens: u64,
    /// The part of `output_tokens` that nobody sees.
    pub reasoning_tokens: u64,
    /// The upstream's own account, for what is not named above.
    pub reported: Map<String, Value>,
}

impl Usage {
    #[must_use]
    pub fn new(input_tokens: u64, output_tokens: u64) -> Self {
        Self { input_tokens, output_tokens, ..Self::default() }
    }

    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// The sum, for a loop that makes several calls.
    pub fn add(&mut self, other: &Self) {
        let Self {
            input_tokens,
            cached_input_tokens,
            output_tokens,
            reasoning_tokens,
            reported: _,
        } = other;
        self.input_tokens = self.input_tokens.saturating_add(*input_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(*cached_input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(*output_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(*reasoning_tokens);
        self.reported = Map::new();
    }
}

const INPUT: &str = "prompt_tokens";
const OUTPUT: &str = "completion_tokens";
const TOTAL: &str = "total_tokens";
const INPUT_DETAILS: &str = "prompt_tokens_details";
const OUTPUT_DETAILS: &str = "completion_tokens_details";
const CACHED: &str = "cached_tokens";
const REASONING: &str = "reasoning_tokens";

impl Serialize for Usage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = self.reported.clone();
        map.insert(INPUT.to_owned(), self.input_tokens.into());
        map.insert(OUTPUT.to_owned(), self.output_tokens.into());
        map.insert(TOTAL.to_owned(), self.total_tokens().into());
        set_detail(&mut map, INPUT_DETAILS, CACHED, self.cached_input_tokens);
        set_detail(&mut map, OUTPUT_DETAILS, REASONING, self.reasoning_tokens);
        map.serialize(serializer)
    }
}

fn set_detail(map: &mut Map<String, Value>, details: &str, name: &str, tokens: u64) {
    let details = map.entry(details).or_insert_with(|| Value::Object(Map::new()));
    if !details.is_object() {
        *details = Value::Object(Map::new());
    }
    if let Value::Object(fields) = details {
        fields.insert(name.to_owned(), tokens.into());
    }
}

impl<'de> Deserialize<'de> for Usage {
    /// Counts that are missing or are not numbers are zero: no answer is lost over its bill.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reported = Map::deserialize(deserializer)?;
        let count = |name: &str| reported.get(name).and_then(Value::as_u64).unwrap_or(0);
        let detail = |details: &str, name: &str| {
            reported.get(details).and_then(|fields| fields.get(name)?.as_u64()).unwrap_or(0)
        };
        Ok(Self {
            input_tokens: count(INPUT),
            cached_input_tokens: detail(INPUT_DETAILS, CACHED),
            output_tokens: count(OUTPUT),
            reasoning_tokens: detail(OUTPUT_DETAILS, REASONING),
            reported,
        })
    }
}
