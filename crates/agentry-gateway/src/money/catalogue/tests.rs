use super::*;

#[test]
fn a_dated_or_regional_name_is_the_model_it_is_a_version_of() {
    let catalogue = Catalogue::embedded().unwrap();
    let check = |provider: &str, name: &str, same: Option<(&str, &str)>| {
        let found = catalogue.find(provider, name);
        let expected = same.and_then(|(provider, name)| catalogue.models.get(provider)?.get(name));
        assert_eq!(found.is_some(), same.is_some(), "{provider}/{name}");
        assert_eq!(found, expected, "{provider}/{name}");
    };
    check("openai", "gpt-4o", Some(("openai", "gpt-4o")));
    check("openai", "gpt-4o-2024-08-06", Some(("openai", "gpt-4o")));
    check("openai", "gpt-4o-mini-2024-07-18", Some(("openai", "gpt-4o-mini")));
    check("openai", "gpt-4-0613", Some(("openai", "gpt-4")));
    check("azure", "gpt-4.1", Some(("openai", "gpt-4.1")));
    check("openrouter", "openai/gpt-4o", Some(("openai", "gpt-4o")));
    check("anthropic", "claude-3-5-sonnet-20241022", Some(("anthropic", "claude-3-5-sonnet")));
    check("anthropic", "claude-3-5-sonnet-latest", Some(("anthropic", "claude-3-5-sonnet")));
    check("anthropic", "claude-sonnet-4-5-20250929", Some(("anthropic", "claude-sonnet-4-5")));
    check("anthropic", "claude-sonnet-4-20250514", Some(("anthropic", "claude-sonnet-4")));
    check("gemini", "models/gemini-2.0-flash-001", Some(("gemini", "gemini-2.0-flash")));
    check("gemini", "gemini-2.5-pro-preview-05-06", Some(("gemini", "gemini-2.5-pro")));
    check("vertex", "gemini-2.5-flash", Some(("gemini", "gemini-2.5-flash")));
    check("mistral", "mistral-large-2411", Some(("mistral", "mistral-large")));
    check(
        "bedrock",
        "us.anthropic.claude-3-5-sonnet-20241022-v2:0",
        Some(("bedrock", "anthropic.claude-3-5-sonnet")),
    );
    check("groq", "llama-3.3-70b-versatile", Some(("groq", "llama-3.3-70b-versatile")));
    check("openai", "gpt-4o-nano", None);
    check("openai", "o", None);
    check("openai", "", None);
    check("openai", "-latest", None);
    check("nobody", "gpt-4o", None);
}

#[test]
fn every_known_model_is_plausible() {
    let catalogue = Catalogue::embedded().unwrap();
    catalogue.as_of.parse::<toml::value::Datetime>().unwrap();
    let mut count = 0;
    for (name, model) in catalogue.models() {
        let Price { input, cached_input, cache_write, output } = model.rates;
        assert!(input.0 > 0 && input.0 <= 150_000_000, "{name}");
        assert!(cached_input.0 >= 0 && cached_input <= input, "{name}");
        assert!(cache_write >= input && cache_write.0 <= 2 * input.0, "{name}");
        assert!(model.output_tokens_max <= model.context_tokens, "{name}");
        let embeds = model.strengths.contains("embedding");
        assert_eq!(embeds, output.0 == 0, "{name}");
        assert_eq!(embeds, model.output_tokens_max == 0, "{name}");
        if let Some((over, long)) = &model.long {
            assert!(*over < model.context_tokens && long.input > input, "{name}");
        }
        count += 1;
    }
    assert!(count >= 70, "{count}");
}

#[test]
fn an_operator_has_the_last_word() {
    let mut catalogue = Catalogue::embedded().unwrap();
    let own = "[openai.\"gpt-4o\"]\ninput = 2\ncontext = 10\noutput_max = 5\n[own.m]\ninput = 0.5\ncached_input = 0.1\noutput = 1\ncontext = 8\noutput_max = 8";
    catalogue.merge(Catalogue::parse(own).unwrap());
    let ours = catalogue.find("openai", "gpt-4o-2024-08-06").unwrap();
    assert_eq!(
        (ours.rates.input, ours.rates.cached_input),
        (MicroUsd(2_000_000), MicroUsd(2_000_000))
    );
    let rates = catalogue.find("own", "m").unwrap().rates;
    assert_eq!((rates.cached_input, rates.cache_write), (MicroUsd(100_000), MicroUsd(500_000)));
    assert!(catalogue.find("openai", "gpt-4o-mini").is_some(), "the others are still there");
}

#[test]
fn a_catalogue_that_cannot_be_used_says_where_and_why() {
    let check = |text: &str, expected: &str| {
        let problem = Catalogue::parse(text).unwrap_err().to_string();
        assert!(problem.contains(expected), "{problem}");
    };
    check("[a.m]\ninput = -1\ncontext = 1", "a/m: input = -1 is no price");
    check("[a.m]\ninput = nan\ncontext = 1", "is no price");
    check("[a.m]\ninput = 1\ncontext = 0", "a/m: `context` is zero");
    check("[a.m]\ninput = 1", "context");
    check(
        "[a.m]\ncontext = 1\ninput = 1\nstrengths = [\"magic\"]",
        "`magic` is no strength; use agents",
    );
    check("[a.m]\ncontext = 1\ninput = 1\ncan = { fly = true }", "fly");
}

#[test]
fn long_requests_have_their_own_rates() {
    let catalogue = Catalogue::embedded().unwrap();
    let model = catalogue.find("gemini", "gemini-2.5-pro").unwrap();
    assert_eq!(model.rates_for(200_000).input, MicroUsd(1_250_000));
    assert_eq!(model.rates_for(200_001).input, MicroUsd(2_500_000));
    let size = Size { text_bytes: 10_000, messages: 2, images: 0 };
    assert_eq!(model.worst_cost(size, Some(100)), MicroUsd(12_540 + 1_000 + 2));
    let all = model.worst_cost(size, None);
    assert_eq!(all, MicroUsd(12_540 + 655_360 + 2));
    let huge = Size { text_bytes: 300_000, messages: 1, images: 0 };
    assert_eq!(model.worst_cost(huge, Some(0)), MicroUsd(750_060 + 2));
}

#[test]
fn the_example_in_the_documentation_is_a_catalogue() {
    let page = include_str!("../../../../../docs/budgets.md");
    let example = page
        .split("```toml prices.toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let ours = Catalogue::parse(example).unwrap();
    let known = Catalogue::embedded().unwrap();
    assert_eq!(ours.find("openai", "gpt-4o"), known.find("openai", "gpt-4o"));
}
