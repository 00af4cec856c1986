//! One vendor for each dialect, and what each says to which model.

use agentry_testkit::vendor::{Answer, Dialect, Ending, Reply, Vendor};
use serde_json::{Value, json};

use crate::support::wait_for;

pub(super) const KEY: &str = "0123456789abcdef0123456789abcdef";

/// What the thoughts of the vendors are proven with.
const SIGNATURE: &str = "c2lnbmVkIGJ5IHRoZSB2ZW5kb3I=";
const THOUGHT: &str = "Where is Paris?";
const HELLO: &[&str] = &["Hello ", "to ", "you."];

const KINDS: [(&str, Dialect, &str); 4] = [
    ("chat", Dialect::Chat, "kind = \"openai\""),
    ("responses", Dialect::Responses, "kind = \"openai\"\napi = \"responses\""),
    ("anthropic", Dialect::Messages, "kind = \"anthropic\""),
    ("gemini", Dialect::Gemini, "kind = \"gemini\""),
];

pub(super) struct Upstreams(Vec<(&'static str, Dialect, Vendor)>);

impl Upstreams {
    pub(super) fn start() -> Self {
        Self(KINDS.map(|(name, dialect, _)| (name, dialect, vendor(dialect))).into())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(name, ..)| *name)
    }

    /// `anthropic-tools` is what callers name `tools` at `anthropic`.
    pub(super) fn config(&self) -> String {
        let mut config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[storage]\nurl = \"memory:\"\n\
             [breaker]\nfailures = 1000\n\
             [[keys]]\nname = \"one\"\nsecret = \"file:one.key\"\nscopes = [{}]\n",
            "\"llm:chat\", \"llm:embed\""
        );
        for ((name, dialect, vendor), (.., kind)) in self.0.iter().zip(KINDS) {
            config +=
                &format!("[providers.{name}]\n{kind}\nbase_url = \"{}\"\n", vendor.base_url());
            for (scenario, _) in scenarios(*dialect) {
                config += &format!(
                    "[models.{name}-{scenario}]\ntargets = [\"{name}/{scenario}\"]\nretries = 0\n"
                );
            }
        }
        config
    }

    /// Each of `names` was shown the picture, in its own words.
    pub(super) fn assert_images(&self, names: &[&str]) {
        for (name, dialect, vendor) in &self.0 {
            if !names.contains(name) {
                continue;
            }
            let asked = vendor.received_for("image");
            let body = asked.last().expect("to be shown a picture").json();
            let (place, whole) = match dialect {
                Dialect::Chat => ("/messages/0/content", "/image_url/url"),
                Dialect::Responses => ("/input/0/content", "/image_url"),
                Dialect::Messages => ("/messages/0/content", "/source/data"),
                Dialect::Gemini => ("/contents/0/parts", "/inlineData/data"),
            };
            let parts = body.pointer(place).and_then(Value::as_array).expect(name);
            let picture = parts.iter().find_map(|part| part.pointer(whole)?.as_str());
            assert!(picture.is_some_and(|data| data.contains("iVBORw0KGgo")), "{name}: {body}");
        }
    }

    /// What proves a thought came back to the vendor that thought it, in both of the ways to answer.
    pub(super) fn assert_thoughts(&self) {
        for (name, dialect, vendor) in &self.0 {
            // Chat completions prove nothing.
            if *dialect == Dialect::Chat {
                continue;
            }
            for scenario in ["think", "think-stream"] {
                let asked = vendor.received_for(scenario);
                let [first, second] = asked.as_slice() else { panic!("{name}: {}", asked.len()) };
                assert!(!first.json().to_string().contains(SIGNATURE));
                let body = second.json();
                let (turns, proof) = match dialect {
                    Dialect::Chat | Dialect::Messages => ("/messages/1/content/0", "signature"),
                    Dialect::Responses => ("/input/1", "encrypted_content"),
                    Dialect::Gemini => ("/contents/1/parts/0", "thoughtSignature"),
                };
                let found = body.pointer(turns).and_then(|part| part.get(proof));
                assert_eq!(found, Some(&json!(SIGNATURE)), "{name} {scenario}: {body}");
            }
        }
    }

    /// No call goes on that nobody waits for: the vendors' answers that never end are given up.
    pub(super) fn assert_abandoned(&self) {
        for (name, _, vendor) in &self.0 {
            assert!(!vendor.received_for("hang").is_empty(), "{name}");
            let idle = vendor.received().len();
            wait_for("the end of a call that nobody waits for", || {
                (vendor.hanging() == 0).then_some(())
            });
            assert_eq!(vendor.received().len(), idle, "{name}");
        }
    }
}

fn vendor(dialect: Dialect) -> Vendor {
    let vendor = Vendor::start(Vec::new());
    for (scenario, replies) in scenarios(dialect) {
        vendor.script(&scenario, replies);
    }
    vendor
}

fn scenarios(dialect: Dialect) -> Vec<(String, Vec<Reply>)> {
    let said = |pieces: &[&str]| Answer::of(dialect, pieces);
    let hello = said(HELLO);
    let rains = said(&["It rains ", "in Paris."]);
    let calls = said(&[])
        .calling("get_weather", &["{\"ci", "ty\":", "\"Paris\"}"])
        .calling("get_time", &["{\"zone\":\"Eu", "rope/Paris\"}"]);
    let thinks = said(&[])
        .thinking(THOUGHT, SIGNATURE)
        .calling("get_weather", &["{\"city\":", "\"Paris\"}"]);
    let formed = said(&["{\"city\":\"Paris\",", "\"rain\":true}"]);
    let limited = || Reply::error_in(dialect, 429).header("retry-after", "7");
    let hangs = hello.stream().stops_after(pieces_until_text(dialect), Ending::Hang);
    let mut all = vec![
        ("hello", vec![hello.whole()]),
        ("hello-stream", vec![hello.stream()]),
        ("tools", vec![calls.whole(), rains.whole()]),
        ("tools-stream", vec![calls.stream(), rains.stream()]),
        ("tools-responses", vec![calls.whole(), rains.whole()]),
        ("tools-responses-stream", vec![calls.stream()]),
        ("think", vec![thinks.whole(), rains.whole()]),
        ("think-stream", vec![thinks.stream(), rains.stream()]),
        ("json", vec![formed.whole()]),
        ("json-stream", vec![formed.stream()]),
        ("image", vec![hello.whole()]),
        ("e400", vec![Reply::error_in(dialect, 400)]),
        ("e401", vec![Reply::error_in(dialect, 401)]),
        // A target rests after that, so each caller has its own.
        ("e429", vec![limited()]),
        ("e429-responses", vec![limited()]),
        ("cut", vec![hello.stream().stops_after(pieces_until_text(dialect), Ending::Close)]),
        ("hang", vec![hangs]),
    ];
    all.extend(vectors(dialect).map(|vectors| ("embed", vec![vectors])));
    all.into_iter().map(|(name, replies)| (name.to_owned(), replies)).collect()
}

/// How many events there are up to the first of the text.
fn pieces_until_text(dialect: Dialect) -> usize {
    match dialect {
        // The role, the text.
        Dialect::Chat => 2,
        // Created, in progress, the item, its part, the text.
        Dialect::Responses => 5,
        // The message, the block, the text.
        Dialect::Messages => 3,
        Dialect::Gemini => 1,
    }
}

fn vectors(dialect: Dialect) -> Option<Reply> {
    let [one, other] = [json!([0.5, -0.25]), json!([1.0, 2.0])];
    match dialect {
        Dialect::Chat => {
            let item = |index, vector| json!({ "object": "embedding", "index": index, "embedding": vector });
            Some(Reply::json(&json!({
                "object": "list", "data": [item(0, one), item(1, other)], "model": "embed",
                "usage": { "prompt_tokens": 2, "total_tokens": 2 },
            })))
        }
        Dialect::Gemini => {
            Some(Reply::json(&json!({ "embeddings": [{ "values": one }, { "values": other }] })))
        }
        Dialect::Messages | Dialect::Responses => None,
    }
}
