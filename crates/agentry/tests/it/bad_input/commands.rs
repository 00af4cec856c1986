//! Command lines and configurations that cannot work.

use super::{Line, check_lines};
use crate::support::{agentry, finish};

const NONE: &[(&str, &str)] = &[];

#[test]
fn a_wrong_command_line_is_told_what_is_right() {
    let line = |name, arguments, says| Line {
        name,
        config: "",
        variables: NONE,
        arguments,
        exit: 2,
        says,
    };
    check_lines(vec![
        line("nothing at all", &[], &["Examples:", "agentry serve"]),
        line("an unknown command", &["serv"], &["unrecognized subcommand 'serv'", "'serve'"]),
        line("an unknown option", &["serve", "--port", "80"], &["unexpected argument '--port'"]),
        line("an argument too many", &["check", "this"], &["unexpected argument 'this'"]),
        line("an option without value", &["check", "--config"], &["a value is required"]),
        line("loud and quiet", &["check", "-v", "-q"], &["cannot be used with"]),
        line(
            "no such file",
            &["check", "--config", "gone.toml"],
            &["gone.toml: there is no such file", "--config"],
        ),
        line("a folder", &["serve", "--config", "."], &["cannot be read"]),
    ]);
}

#[test]
fn a_wrong_configuration_starts_nothing() {
    let line = |name, config, variables, says| {
        let arguments = &["serve"];
        Line { name, config, variables, arguments, exit: 2, says }
    };
    check_lines(vec![
        line("broken TOML", "[server\n", NONE, &["agentry.toml:1:8", "  1 | [server", "^"]),
        line(
            "an unknown table",
            "[serve]\n",
            NONE,
            &["unknown table `serve`", "did you mean `server`?"],
        ),
        line(
            "an unknown key",
            "[server]\nport = 80\n",
            NONE,
            &["agentry.toml:2:1: unknown key `port`"],
        ),
        line(
            "a wrong type",
            "[server]\nlisten = true\n",
            NONE,
            &["must be a string, not true or false"],
        ),
        line("open to the world", "[server]\nlisten = \"0.0.0.0:7171\"\n", NONE, &["no API keys"]),
        line(
            "a secret in the file",
            "[providers.openai]\nkind = \"openai\"\napi_key = \"sk-1\"\n",
            NONE,
            &["api_key = \"...\"", "env:NAME"],
        ),
        line(
            "a variable that is not set",
            "[providers.openai]\nkind = \"openai\"\napi_key = \"env:KEY\"\n",
            NONE,
            &["export KEY="],
        ),
        line(
            "a script that is gone",
            "[providers.a]\nkind = \"scripted\"\nscript = \"gone.toml\"\n",
            NONE,
            &["gone.toml, which cannot be read"],
        ),
        line(
            "a script that is wrong",
            "[providers.a]\nkind = \"scripted\"\nscript = \"agentry.toml\"\n",
            NONE,
            &["which is wrong"],
        ),
        line(
            "a target without provider",
            "[models.a]\ntargets = [\"b/c\"]\n",
            NONE,
            &["no provider `b`"],
        ),
        line(
            "a wrong variable",
            "",
            &[("AGENTRY__SERVER__LISTEN", "everywhere")],
            &["variable AGENTRY__SERVER__LISTEN", "everywhere"],
        ),
        line(
            "several at once",
            "[server]\na = 1\nb = 2\n[storage]\nurl = \"x\"\n",
            NONE,
            &[":2:1", ":3:1", ":5:7", "3 problems"],
        ),
    ]);
}

#[test]
fn help_and_version_are_data() {
    let folder = tempfile::tempdir().unwrap();
    for (argument, says) in
        [("--help", "Exit codes: 0 done"), ("--version", env!("CARGO_PKG_VERSION"))]
    {
        let mut command = agentry(folder.path());
        command.arg(argument);
        let output = finish(command);
        assert_eq!(output.status.code(), Some(0), "{argument}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(says), "{argument}");
        assert!(output.stderr.is_empty(), "{argument}");
    }
}

#[test]
fn problems_come_as_data_too() {
    let check = |config: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("agentry.toml"), config).unwrap();
        let mut command = agentry(folder.path());
        command.args(["check", "--json"]);
        let output = finish(command);
        assert_eq!(output.status.code(), Some(2), "{config}");
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["ok"], false, "{config}");
        told["problems"][0].clone()
    };
    let problem = check("[server]\nport = 80\n");
    assert_eq!(problem["file"], "agentry.toml");
    assert_eq!(problem["line"], 2);
    assert_eq!(problem["message"], "unknown key `port` in `server`");
    // What only shows when it is put together.
    let provider = "[providers.a]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1{:9/v1\"\n";
    let message = check(provider)["message"].to_string();
    assert!(message.contains("is no base_url"), "{message}");
}
