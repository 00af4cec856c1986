//! What a call can cost at most, before it is made.

use agentry_core::MicroUsd;
use agentry_core::chat::Usage;

/// In micro-dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    pub input: MicroUsd,
    pub cached_input: MicroUsd,
    /// For input that the upstream keeps for later calls.
    pub cache_write: MicroUsd,
    pub output: MicroUsd,
}

impl Price {
    /// What `usage` costs, rounded up. What was written to the upstream's cache is a part of the input.
    #[must_use]
    pub fn of(&self, usage: &Usage) -> MicroUsd {
        let Self { input, cached_input, cache_write, output } = *self;
        let written = usage
            .reported
            .get("prompt_tokens_details")
            .and_then(|details| details.get("cache_write_tokens"))
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0);
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        let written = written.min(usage.input_tokens - cached);
        MicroUsd::of_tokens(usage.input_tokens - cached - written, input)
            + MicroUsd::of_tokens(cached, cached_input)
            + MicroUsd::of_tokens(written, cache_write)
            + MicroUsd::of_tokens(usage.output_tokens, output)
    }

    /// The price of input at worst: nobody knows before the call what the upstream has cached or will keep.
    fn input_at_worst(&self) -> MicroUsd {
        self.input.max(self.cached_input).max(self.cache_write)
    }
}

/// How much a request says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Of all text: messages, tool definitions, schemas. The bytes of the request's body are never fewer.
    pub text_bytes: u64,
    pub messages: u64,
    /// Pictures and other parts that are not text. Their bytes need not be counted.
    pub images: u64,
}

/// What a message costs beside its text: its role and its separators.
const TOKENS_PER_MESSAGE: u64 = 8;
/// What a request costs in any case.
const TOKENS_PER_REQUEST: u64 = 16;

/// No tokenizer makes more tokens of a text than it has bytes, whatever the language. `image_tokens` is what the model makes
/// of one image at most.
#[must_use]
pub fn input_tokens_max(size: Size, image_tokens: u64) -> u64 {
    let Size { text_bytes, messages, images } = size;
    text_bytes
        .saturating_add(messages.saturating_mul(TOKENS_PER_MESSAGE))
        .saturating_add(images.saturating_mul(image_tokens))
        .saturating_add(TOKENS_PER_REQUEST)
}

/// A bill adds up to four amounts, each rounded up; the bound adds up two.
const ROUNDING: MicroUsd = MicroUsd(2);

#[must_use]
pub fn worst_cost(rates: &Price, input_tokens: u64, output_tokens: u64) -> MicroUsd {
    MicroUsd::of_tokens(input_tokens, rates.input_at_worst())
        + MicroUsd::of_tokens(output_tokens, rates.output)
        + ROUNDING
}

/// The most output that `money` pays for behind `input_tokens`: with it as `max_tokens`, [`worst_cost`] is within `money`.
/// Nothing when not even the input is affordable.
#[must_use]
pub fn affordable_output_tokens(rates: &Price, input_tokens: u64, money: MicroUsd) -> Option<u64> {
    let input = worst_cost(rates, input_tokens, 0);
    let rest = money.0.checked_sub(input.0)?;
    if rest < 0 {
        return None;
    }
    if rates.output.0 <= 0 {
        return Some(u64::MAX);
    }
    let tokens = i128::from(rest) * 1_000_000 / i128::from(rates.output.0);
    Some(u64::try_from(tokens).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
