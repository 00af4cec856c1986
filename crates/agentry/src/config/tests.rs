use super::*;

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Reads `text` as a file in an empty folder.
fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, Error> {
    let folder = tempfile::tempdir().unwrap();
    let environment = environment(variables);
    resolve(Sources {
        path: Some(folder.path().join(FILE)),
        name: FILE.to_owned(),
        text: Some(text),
        folder: folder.path(),
        environment: &environment,
    })
}

/// What a person is shown for `text` must contain each of `expected`.
fn check(text: &str, expected: &[&str]) {
    check_with(text, &[], expected);
}

fn check_with(text: &str, variables: &[(&str, &str)], expected: &[&str]) {
    let shown = read(text, variables).expect_err(text).to_string();
    for expected in expected {
        assert!(
            shown.contains(expected),
            "{text}\n- should say -\n{expected}\n- but says -\n{shown}"
        );
    }
}

#[test]
fn all_problems_are_shown_with_their_place() {
    let text = "\
[server]
lisen = \"127.0.0.1:7171\"
drain = 30

[providers.openai]
kind = \"openai\"
api_key = \"sk-12345\"

[models.fast]
targets = [\"opnai/gpt-4o-mini\", \"nonsense\"]
";
    let shown = read(text, &[]).expect_err("it is full of mistakes").to_string();
    let expected = "\
agentry.toml:2:1: unknown key `lisen` in `server`
  2 | lisen = \"127.0.0.1:7171\"
    | ^^^^^
  = did you mean `listen`?

agentry.toml:3:9: `server.drain` needs a unit behind 30
  3 | drain = 30
    |         ^^
  = write a number with ms, s, m, h or d, as in \"60s\"

agentry.toml:7:11: `providers.openai.api_key` holds a secret, which does not belong into the configuration
  7 | api_key = \"...\"
    |           ^^^^^
  = put it into a variable or a file, and write \"env:NAME\" or \"file:PATH\"

agentry.toml:10:12: there is no provider `opnai`
  10 | targets = [\"opnai/gpt-4o-mini\", \"nonsense\"]
     |            ^^^^^^^^^^^^^^^^^^^
  = add a table [providers.opnai]

agentry.toml:10:33: `models.fast.targets` has \"nonsense\", which is no target
  10 | targets = [\"opnai/gpt-4o-mini\", \"nonsense\"]
     |                                 ^^^^^^^^^^
  = write it as \"provider/model\", as in \"openai/gpt-4o-mini\"

5 problems in the configuration: nothing was started";
    assert_eq!(shown, expected);
}

#[test]
fn a_mistake_is_named_and_so_is_its_mend() {
    check("[server\nlisten = 1", &["agentry.toml:1:8", "1 problem"]);
    check("a = 1\na = 2", &["agentry.toml:2:1", "duplicate"]);
    check("[server]\nlisten = \"here\"", &["is not an address: \"here\"", "\"127.0.0.1:7171\""]);
    check("[server]\nlisten = 7171", &["must be a string, not a number"]);
    check("[server]\nconnections_max = 0", &["must be at least 1"]);
    check("[server]\nbody_bytes_max = \"10 parsecs\"", &["10 parsecs", "MiB"]);
    check("[server]\ndrain = \"-5s\"", &["is not understood: \"-5s\""]);
    check("[server]\ndrain = \"99999999999999999999s\"", &["is not understood"]);
    check("[server]\ndrain = \"0s\"", &["longer than nothing"]);
    check("server = 5", &["`server` must be a table, not a number"]);
    check("[storage]\nurl = \"postgres://a:hunter2@b/c\"", &["has a password", "\"env:NAME\""]);
    check("[storage]\nurl = \"agentry.db\"", &["is no storage", "\"sqlite:agentry.db\""]);
    check("[sever]\n", &["unknown table `sever`", "did you mean `server`?"]);
    check("[providers.a]", &["`providers.a` needs `kind`", "add kind = \"openai\""]);
    check("[providers.a]\nkind = \"anthropic\"", &["needs `api_key`", "env:ANTHROPIC_API_KEY"]);
    check(
        "[providers.a]\nkind = \"anthropic\"\n[models.m]\ntargets = [\"a/x\"]",
        &["needs `api_key`", "1 problem in"],
    );
    check("[providers.a]\nkind = \"opena\"", &["did you mean \"openai\"?"]);
    check("[providers.a]\nkind = \"openai\"", &["needs `api_key`", "env:OPENAI_API_KEY"]);
    check(
        "[providers.a]\nkind = \"openai\"\napi_key = \"env:NOT_SET\"",
        &["environment variable NOT_SET, which is not set", "export NOT_SET="],
    );
    check(
        "[providers.a]\nkind = \"openai\"\napi_key = \"file:gone\"",
        &["gone, which cannot be read"],
    );
    check("[providers.a]\nkind = \"openai\"\nbase_url = \"ftp://a\"", &["must begin with http://"]);
    check("[providers.a]\nkind = \"scripted\"", &["needs `script`"]);
    check(
        "[providers.a]\nkind = \"scripted\"\nscript = \"no.toml\"",
        &["no.toml, which cannot be read"],
    );
    check("[models.a]\n", &["`models.a` needs `targets`"]);
    check("[models.a]\ntargets = []", &["names nobody"]);
    check("[models.a]\ntargets = \"x/y\"", &["must be a list, not a string"]);
    check("[models.a]\ntargets = [{ target = \"x/y\", weight = 0 }]", &["must be at least 1"]);
    check("[models.a]\ntargets = [{ weight = 2 }]", &["`models.a.targets[0]` needs `target`"]);
    check(
        "[models.a]\ntargets = [\"x/y\"]\nstrategy = \"fastest\"",
        &["no strategy `fastest`", "peak_ewma"],
    );
    check("[models.a]\ntargets = []\nfallbacks = [\"b\"]", &["no model `b` to fall back to"]);
    check("[models.a]\ntargets = []\nfallbacks = [\"a\"]", &["its own fallback"]);
    check("[models.a]\ntargets = []\nretries = 1000", &["must be at most 20"]);
    check("[models.a]\ntargets = []\nprice = { input = -1, output = 1 }", &["between 0"]);
    check("[models.a]\ntargets = []\nprice = { input = 1 }", &["`models.a.price` needs `output`"]);
    check("[incident]\nmodel = \"gone\"", &["there is no model `gone`"]);
    check("[incident]\nsources = { metrics = \"loki:http://a\" }", &["loki", "not available yet"]);
    check("[incident]\nsources = { logs = \"/var/log\" }", &["\"dir:/var/log/app\""]);
    check("[incident]\nsources = { logs = \"dir:gone\" }", &["gone, which is no folder"]);
    check("[incident]\nsources = { metrics = \"prometheus:9090\" }", &["is not a URL"]);
    check("[incident]\nnotify = { slack = \"https://hooks/x\" }", &["holds a secret", "\"...\""]);
    check("[incident]\ntickets = { jira = \"https://a\" }", &["needs `project`", "needs `token`"]);
    check("[incident.actions.restart]\nurl = \"restart.sh\"", &["is not a URL"]);
    check("[incident.actions.restart]\n", &["`incident.actions.restart` needs `url`"]);
}

#[test]
fn a_secret_is_never_shown() {
    for text in [
        "[providers.a]\nkind = \"openai\"\napi_key = \"hunter2\"",
        "[providers.a]\nkind = \"openai\"\nbase_url = \"https://user:hunter2@a\"",
        "[incident]\nnotify = { slack = \"hunter2\" }",
    ] {
        let error = read(text, &[]).expect_err(text);
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let good = "[providers.a]\nkind = \"openai\"\napi_key = \"env:KEY\"";
    let config = read(good, &[("KEY", "hunter2")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn keys_that_encrypt_are_32_bytes_each() {
    let good = [
        ("A", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
        ("B", "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="),
        ("SHORT", "hunter2"),
    ];
    let check = |value: &str, expected: Result<usize, &str>| {
        let text = format!("[storage]\nencryption_key = {value}");
        match (read(&text, &good), expected) {
            (Ok(config), Ok(keys)) => {
                assert_eq!(config.encryption.map(|ring| ring.ids().count()), Some(keys));
            }
            (Err(error), Err(part)) => {
                let error = error.to_string();
                assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
            }
            (read, _) => panic!("{value}: {read:?}"),
        }
    };
    check("\"env:A\"", Ok(1));
    check("[\"env:B\", \"env:A\"]", Ok(2));
    check("[\"env:A\", \"env:A\"]", Err("key 2 is there twice"));
    check("[\"env:A\", \"env:SHORT\"]", Err("key 2 is not 32 bytes in base64"));
    check("\"env:SHORT\"", Err("`openssl rand -base64 32`"));
    check("\"hunter2\"", Err("holds a secret"));
    check("[]", Err("there is no encryption key"));
    check("5", Err("must be a string"));
    assert!(read("[storage]\nurl = \"memory:\"", &[]).unwrap().encryption.is_none());
}

#[test]
fn variables_lie_over_the_file() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\n[providers.my-llm]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:2\"";
    let config = read(
        text,
        &[
            ("AGENTRY__SERVER__LISTEN", "127.0.0.1:3"),
            ("AGENTRY__SERVER__CONNECTIONS_MAX", "5"),
            ("AGENTRY__SERVER__DRAIN", "1m30s"),
            ("AGENTRY__PROVIDERS__MY_LLM__API_KEY", "env:KEY"),
            ("AGENTRY__MODELS__FAST__TARGETS", "[\"my-llm/x\"]"),
            ("AGENTRY__STORAGE__URL", "memory:"),
            ("KEY", "secret"),
            ("UNRELATED__VARIABLE", "x"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.server.settings.connections_max, 5);
    assert_eq!(config.server.settings.drain, Duration::from_secs(90));
    assert_eq!(config.storage, Storage::Memory);
    let names: Vec<_> = config.models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["fast", "default"]);
    assert!(
        matches!(&config.providers[0].kind, Kind::OpenAi(settings) if settings.api_key.is_some())
    );

    check_with(
        "",
        &[("AGENTRY__SERVER__LISTN", "x")],
        &["variable AGENTRY__SERVER__LISTN: unknown key"],
    );
    check_with("", &[("AGENTRY__SERVER__DRAIN", "x")], &["AGENTRY__SERVER__DRAIN: `server.drain`"]);
    check_with("", &[("AGENTRY__", "x")], &["does not name a value"]);
    check_with(
        "[server]\ndrain = \"1s\"",
        &[("AGENTRY__SERVER__DRAIN__X", "x")],
        &["`drain` is a value"],
    );
}

#[test]
fn without_a_file_the_usual_variables_count() {
    let folder = tempfile::tempdir().unwrap();
    let bare = load(None, folder.path(), &environment(&[])).unwrap();
    assert_eq!(bare.file, None);
    assert_eq!(bare.server.listen.to_string(), "127.0.0.1:7171");
    assert_eq!(bare.storage, Storage::Sqlite(folder.path().join("agentry.db")));
    assert!(bare.providers.is_empty() && bare.models.is_empty());

    let keyed = load(None, folder.path(), &environment(&[("OPENAI_API_KEY", "x")])).unwrap();
    assert_eq!(keyed.providers[0].variable, Some("OPENAI_API_KEY"));
    assert_eq!(keyed.models[0].name, "default");
    let target = &keyed.models[0].targets[0];
    assert_eq!((target.provider.as_str(), target.model.as_str()), ("openai", "gpt-4o-mini"));
    assert!(target.price.is_some(), "the catalogue knows it");

    fs::write(folder.path().join(FILE), "[storage]\nurl = \"memory:\"").unwrap();
    let found = load(None, folder.path(), &environment(&[("OPENAI_API_KEY", "x")])).unwrap();
    assert_eq!(found.storage, Storage::Memory);
    assert!(found.providers.is_empty(), "a file says all there is");

    fs::write(folder.path().join("bad.toml"), b"# \xff\n").unwrap();
    for (path, expected) in [
        ("gone.toml", "no such file"),
        (".", "cannot be read"),
        ("bad.toml", "line 1 is not UTF-8"),
    ] {
        let error = load(Some(Path::new(path)), folder.path(), &environment(&[])).unwrap_err();
        assert!(error.to_string().contains(expected), "{path}: {error}");
    }
}

#[test]
fn what_the_incident_agent_needs_is_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("logs")).unwrap();
    fs::write(folder.path().join("token"), "t0ken\n").unwrap();
    let text = "\
[providers.local]
kind = \"openai\"
base_url = \"http://127.0.0.1:1/v1\"
[incident]
model = \"default\"
settle = \"20s\"
approval_timeout = \"1h\"
sources = { metrics = \"prometheus:http://127.0.0.1:9090\", logs = \"dir:logs\" }
notify = { slack = \"env:SLACK\" }
tickets = { jira = \"https://jira.test\", project = \"OPS\", token = \"file:token\" }
[incident.actions.restart]
url = \"http://127.0.0.1:2/restart\"
";
    fs::write(folder.path().join(FILE), text).unwrap();
    let slack = [("SLACK", "https://hooks.test/x")];
    let incident = load(None, folder.path(), &environment(&slack)).unwrap().incident;
    assert_eq!(incident.model.as_deref(), Some("default"));
    assert_eq!(incident.settle, Some(Duration::from_secs(20)));
    assert_eq!(incident.approval_timeout, Some(Duration::from_secs(3600)));
    assert!(matches!(incident.metrics, Some(Source::Prometheus(url)) if url.port() == Some(9090)));
    assert_eq!(incident.logs, Some(Source::Folder(folder.path().join("logs"))));
    assert!(incident.slack.is_some());
    let jira = incident.jira.unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&jira.token), "t0ken");
    assert_eq!(incident.actions[0].0, "restart");
}

#[test]
fn secrets_of_webhooks_are_one_or_several_and_long_enough() {
    let secret = ("SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let signs = |text: &str| read(text, &[secret]).unwrap().server.webhook_signer.is_some();
    assert!(!signs(""));
    assert!(signs("[server]\nwebhook_secrets = \"env:SECRET\""));
    assert!(signs("[server]\nwebhook_secrets = [\"env:SECRET\"]"));
    check_with(
        "[server]\nwebhook_secrets = [\"env:SECRET\", \"env:SHORT\"]",
        &[secret, ("SHORT", "whsec_c2hvcnQ=")],
        &["`server.webhook_secrets`: secret 2 is not 24 to 64 bytes in base64"],
    );
    check("[server]\nwebhook_secrets = \"whsec_c2hvcnQ=\"", &["webhook_secrets"]);
}

mod calls;
mod documented;
mod keys;
mod watching;
