//! The tables that say what holds for model calls.

use agentry_balance::{LimitSettings, Strategy};
use agentry_core::MicroUsd;
use agentry_core::ledger::Per;
use agentry_gateway::money::Limit;
use agentry_gateway::{Rule, Whose};

use super::*;

#[test]
fn a_wrong_policy_is_told_what_is_wrong() {
    check(
        "[cache]\nsemantic = true",
        &["`cache.semantic` is not available yet", "semantic = false"],
    );
    check("[cache]\nthreshold = 0.9", &["`threshold` is not available yet"]);
    check("[cache]\nmax_bytes = \"1KiB\"", &["at least 64KiB"]);
    check("[cache]\nttl = 60", &["`cache.ttl` needs a unit"]);
    check("[shared]\nurl = \"localhost:6379\"", &["is no shared store", "redis://HOST:6379"]);
    check("[shared]\nurl = \"redis://:hunter2@a\"", &["has a password", "env:NAME", "\"...\""]);
    check("[shared]\nprefix = \"a:b\"", &["a character that is not"]);
    check("[breaker]\nfailures = 0", &["must be at least 1"]);
    check("[breaker]\nfailure = 3", &["did you mean `failures`?"]);
    let local = "[providers.local]\nkind = \"openai\"\nbase_url = \"http://a/v1\"\n";
    let looked = |more: &str| format!("{local}[providers.local.check]\n{more}");
    check(&looked("path = \"models\""), &["is no path: \"models\"", "\"/models\""]);
    check(&looked("path = \"/a b\""), &["is no path"]);
    check(&looked("timeout = \"11s\""), &["no longer than `interval`"]);
    check(&looked("failures = 0"), &["must be at least 1"]);
    check(&looked("every = \"1s\""), &["`every`"]);
    let signed =
        "[providers.b]\nkind = \"bedrock\"\nregion = \"r\"\napi_key = \"env:K\"\ncheck = {}";
    let message = "a provider of this kind cannot be checked";
    check_with(signed, &[("K", "k")], &[message]);
    check("[health]\noutlier = { failed_percent = 101 }", &["between 1 and 100"]);
    check("[health]\noutlier = { eject_for = \"10m\" }", &["longer than `eject_for_max`"]);
    check("[guards]\npii = \"hide\"", &["no action: \"hide\"", "redact"]);
    check("[guards]\npii = \"hash\"", &["`guards.hash_key`", "needs `hash_key`"]);
    check("[guards]\ninjection = \"redact\"", &["agentry.toml:2:13", "cannot be redacted"]);
    check(
        "[guards]\ndeny = [\"fine\", \"(\"]\ntypes = { nose = \"block\" }",
        &["agentry.toml:2:17", "`guards.deny[1]`", "agentry.toml:3:18", "there is no such type"],
    );
    check("[[budgets]]\n", &["`budgets[0]` needs `for`", "`budgets[0]` needs `budget`"]);
    check("[[budgets]]\nfor = \"key\"", &["is nobody: \"key\"", "[[keys]]"]);
    let budget = "budget = { usd = 1, per = \"day\" }\n";
    check(&format!("[[budgets]]\nfor = \"tenant\"\nname = \"a\"\n{budget}"), &["only a team or a"]);
    check("[[budgets]]\nfor = \"run\"\nbudget = { usd = 1, per = \"week\" }", &["`week`"]);
    check("[[budgets]]\nfor = \"run\"\nbudget = []", &["`budget` has no period"]);
    let twice = format!("[[budgets]]\nfor = \"run\"\n{budget}").repeat(2);
    check(&twice, &["there are two budgets of the tenant `main`"]);
    check("[catalogue]\nfile = \"gone.toml\"", &["gone.toml, which cannot be read"]);
    check("[server]\nmemory_max = \"1MiB\"", &["at least 32MiB"]);
}

#[test]
fn a_wrong_ledger_is_told_what_is_wrong() {
    check("[ledger]\nurl = \"sqlite:a.db\"", &["is kept where the runs are", "[storage] url"]);
    check("[ledger]\nurl = \"mysql://a\"", &["is no ledger", "postgres://HOST/DATABASE"]);
    check("[ledger]\nurl = \"postgres://a:hunter2@b/c\"", &["has a password", "\"...\""]);
    check("[ledger]\ninstance = \"one\"", &["only with a PostgreSQL"]);
    check_with("[ledger]\nurl = \"env:D\"", &[("D", "mysql://hunter2")], &["does not name a URL"]);
    let good = "[ledger]\nurl = \"env:D\"\ninstance = \"one\"";
    let config = read(good, &[("D", "postgres://me:hunter2@db/money")]).unwrap();
    let Ledger::Postgres { place, instance, .. } = &config.ledger else { panic!("{config:?}") };
    assert_eq!((place.as_str(), instance.as_deref()), ("postgres://db:5432/money", Some("one")));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_wrong_provider_or_target_is_told_what_is_wrong() {
    let provider = |rest: &str| format!("[providers.a]\n{rest}");
    check(&provider("kind = \"bedrock\""), &["needs `region`", "needs `api_key`"]);
    check(
        &provider("kind = \"bedrock\"\nregion = \"x\"\naccess_key_id = \"AKIA\""),
        &["needs `secret_access_key`", "env:AWS_SECRET_ACCESS_KEY"],
    );
    check(&provider("kind = \"azure\""), &["needs `base_url`", "needs `api_key`"]);
    check(&provider("kind = \"gemini\""), &["needs `api_key`", "env:GEMINI_API_KEY"]);
    let local = "kind = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\n";
    check(&provider(&format!("{local}quirks = [\"odd\"]")), &["there is no quirk `odd`"]);
    check(&provider(&format!("{local}api = \"soap\"")), &["is no API", "chat_completions"]);
    check(&provider(&format!("{local}region = \"x\"")), &["unknown key `region`"]);
    let model = |rest: &str| format!("[providers.a]\n{local}[models.m]\n{rest}");
    check(
        &model("targets = [{ target = \"a/x\", weigt = 2 }]"),
        &["unknown key `weigt` in `models.m.targets[0]`", "did you mean `weight`?"],
    );
    check(
        &model("targets = [\"a/x\"]\nlimit = { initial = 300 }"),
        &["begins with 300, which is not from 4 to 200"],
    );
    check(&model("targets = [\"a/x\"]\noutput_tokens_max = 0"), &["must be at least 1"]);
}

#[test]
fn what_is_said_of_calls_is_what_holds() {
    let text = r#"
[providers.openai]
kind = "openai"
api_key = "env:KEY"
[providers.mine]
kind = "openai"
base_url = "http://127.0.0.1:1/v1/"
[models."gpt-4.1"]
targets = [
  "openai/gpt-4.1",
  { target = "mine/x", weight = 3, price = { input = 1, output = 2, cache_write = 3 }, limit = {} },
]
strategy = "least_connections"
output_tokens_max = 77
[breaker]
failures = 2
[cache]
ttl = "5m"
[guards]
secrets = "block"
[[budgets]]
for = "team"
name = "red"
tenant = "t"
budget = [{ usd = 1, per = "day" }, { usd = 2.5, per = "month" }]
"#;
    let config = read(text, &[("KEY", "x")]).unwrap();
    let model = &config.models[0];
    assert_eq!((model.name.as_str(), model.strategy), ("gpt-4.1", Strategy::LeastConnections));
    let [known, mine] = model.targets.as_slice() else { panic!("{model:?}") };
    let price = known.price.unwrap();
    assert_eq!((price.input, price.output), (MicroUsd(2_000_000), MicroUsd(8_000_000)));
    assert_eq!((known.weight, known.output_tokens_max, known.limit), (1, Some(77), None));
    let price = mine.price.unwrap();
    assert_eq!((price.cached_input, price.cache_write), (MicroUsd(1_000_000), MicroUsd(3_000_000)));
    assert_eq!((mine.weight, mine.limit), (3, Some(LimitSettings::default())));
    assert_eq!(config.targets.health.breaker.failures, 2);
    assert_eq!(config.cache.unwrap().ttl, Duration::from_secs(300));
    assert!(config.guards.is_some());
    let limit = |per, cap| Limit { per, cap: MicroUsd(cap) };
    let limits = vec![limit(Per::Day, 1_000_000), limit(Per::Month, 2_500_000)];
    let whose = Whose::Team(Some("red".to_owned()));
    assert_eq!(config.budgets, [Rule { tenant: "t".to_owned(), whose, limits }]);
    // What is said to be off is off.
    let config = read("[cache]\nexact = false\n[guards]\npii = \"off\"", &[]).unwrap();
    assert!(config.cache.is_none() && config.guards.is_none());
}

#[test]
fn prices_of_one_s_own_count_instead() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("prices.toml"),
        "[openai.\"gpt-4o\"]\ninput = 9\noutput = 9\ncontext = 5\noutput_max = 7\n[mine.x]\ninput = 1\ncontext = 5",
    )
    .unwrap();
    let text = "\
[catalogue]
file = \"prices.toml\"
[providers.openai]
kind = \"openai\"
api_key = \"env:KEY\"
[providers.mine]
kind = \"openai\"
base_url = \"http://127.0.0.1:1/v1\"
[models.m]
targets = [\"openai/gpt-4o-2024-08-06\", \"mine/x\", \"mine/gpt-4o\", \"openai/gpt-4o-mini\"]
";
    let config = read_text(text, folder.path(), &environment(&[("KEY", "x")])).unwrap();
    let inputs =
        config.models[0].targets.iter().map(|target| target.price.map(|price| price.input.0));
    assert_eq!(
        inputs.collect::<Vec<_>>(),
        // Somebody with the same API does not have the same prices.
        [Some(9_000_000), Some(1_000_000), None, Some(150_000)]
    );
    assert_eq!(config.models[0].targets[0].output_tokens_max, Some(7));
}
