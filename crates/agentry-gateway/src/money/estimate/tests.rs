use agentry_core::MicroUsd;
use agentry_core::chat::Usage;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn rates() -> Price {
    let [input, cached_input, cache_write, output] =
        [3_000_000, 300_000, 3_750_000, 15_000_000].map(MicroUsd);
    Price { input, cached_input, cache_write, output }
}

#[test]
fn every_kind_of_token_has_its_price() {
    let check = |input: u64, cached: u64, written: u64, output: u64, cost: i64| {
        let mut usage = Usage::new(input, output);
        usage.cached_input_tokens = cached;
        let details = json!({ "cache_write_tokens": written });
        usage.reported.insert("prompt_tokens_details".to_owned(), details);
        assert_eq!(rates().of(&usage), MicroUsd(cost));
    };
    check(1_000, 0, 0, 100, 4_500);
    check(1_000, 400, 0, 0, 1_920);
    check(1_000, 400, 600, 0, 2_370);
    // An upstream that counts more than there is.
    check(10, 20, 30, 0, 3);
    check(0, 0, 0, 0, 0);
}

#[test]
fn what_is_affordable_is_what_the_money_pays_for() {
    let check = |input: u64, money: i64, tokens: Option<u64>| {
        assert_eq!(affordable_output_tokens(&rates(), input, MicroUsd(money)), tokens);
    };
    check(1_000, 3_751, None);
    check(1_000, 3_752, Some(0));
    check(1_000, 3_766, Some(0));
    check(1_000, 3_767, Some(1));
    check(0, 15_000_002, Some(1_000_000));
    check(0, -1, None);
    let free = Price { output: MicroUsd(0), ..rates() };
    assert_eq!(affordable_output_tokens(&free, 0, MicroUsd(2)), Some(u64::MAX));
}

proptest! {
    #[test]
    fn no_usage_within_the_bounds_costs_more_than_the_worst(
        prices in proptest::array::uniform4(0_i64..100_000_000),
        input in 0_u64..2_000_000, cached in 0_u64..2_000_000, written in 0_u64..2_000_000,
        output in 0_u64..200_000, bound in 0_u64..200_000,
    ) {
        let [input_price, cached_input, cache_write, output_price] = prices.map(MicroUsd);
        let rates = Price { input: input_price, cached_input, cache_write, output: output_price };
        let mut usage = Usage::new(input, output.min(bound));
        usage.cached_input_tokens = cached;
        let details = json!({ "cache_write_tokens": written });
        usage.reported.insert("prompt_tokens_details".to_owned(), details);
        let worst = worst_cost(&rates, input, bound);
        prop_assert!(rates.of(&usage) <= worst);
        let affordable = affordable_output_tokens(&rates, input, worst);
        prop_assert!(affordable.is_some_and(|tokens| tokens >= bound));
        if let Some(tokens) = affordable.filter(|tokens| *tokens < u64::MAX) {
            prop_assert!(worst_cost(&rates, input, tokens) <= worst);
        }
    }
}
