//! `agentry init`, and what `agentry check` says of its work.

use std::path::Path;

use crate::support::{agentry, finish};

/// Exit code, and what was said on both channels.
fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = agentry(folder);
    command.args(arguments).envs(variables.iter().copied());
    let output = finish(command);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn what_is_begun_with_is_good_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = run(folder.path(), &["init"], &[]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(folder.path(), &["check"], &[]);
    assert!(code == Some(0) && said.contains("is good"), "{said}");
    assert!(said.contains("graphs     review"), "{said}");
    let (code, said) = run(folder.path(), &["graphs", "show", "review", "--mermaid"], &[]);
    assert!(code == Some(0) && said.contains("answer.decision == 'approve'"), "{said}");
    let (code, said) = run(folder.path(), &["init"], &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is there already"), "{said}");

    let key = [("ANTHROPIC_API_KEY", "x")];
    let (code, said) = run(folder.path(), &["init", "deep/er"], &key);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&folder.path().join("deep/er"), &["check"], &key);
    assert!(code == Some(0) && said.contains("providers  anthropic"), "{said}");
}

#[test]
fn a_proxy_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = "\
model_list:
  - model_name: gpt-4.1
    litellm_params: { model: openai/gpt-4.1, api_key: os.environ/KEY, rpm: 5 }
router_settings: { num_retries: 3, cooldown_time: 12 }
";
    std::fs::write(folder.path().join("litellm.yaml"), yaml).unwrap();
    let (code, said) = run(folder.path(), &["init", "--from", "litellm.yaml"], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("model_list[0].litellm_params.rpm"), "{said}");
    let (code, said) = run(folder.path(), &["check"], &[("KEY", "x")]);
    assert!(code == Some(0) && said.contains("models     gpt-4.1, default"), "{said}");

    for (text, expected) in [("- a", "is no mapping"), ("a: [", "is no YAML")] {
        std::fs::write(folder.path().join("bad.yaml"), text).unwrap();
        let (code, said) = run(folder.path(), &["init", "x", "--from", "bad.yaml"], &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("bad.yaml") && said.contains(expected), "{said}");
    }
    let (code, said) = run(folder.path(), &["init", "x", "--from", "gone.yaml"], &[]);
    assert!(code == Some(2) && said.contains("gone.yaml"), "{said}");
}

#[test]
fn what_is_wrong_with_a_graph_is_shown_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = run(folder.path(), &["init"], &[]);
    assert_eq!(code, Some(0), "{said}");
    let graph = "\
[nodes.write]
kind = \"prompt\"
prompt = \"About {{ topic }}.\"
into = \"draft\"
[state]
draft = \"last\"
";
    std::fs::write(folder.path().join("graphs/draft.toml"), graph).unwrap();
    let (code, said) = run(folder.path(), &["check"], &[]);
    assert_eq!(code, Some(2), "{said}");
    let expected = "\
graphs/draft.toml:3:20: there is no `topic` in the state
  3 | prompt = \"About {{ topic }}.\"
    |                    ^^^^^
  = declare it under [state]; there are draft, errors, input

1 problem in graphs/draft.toml";
    assert!(said.contains(expected), "{said}");
    let (code, said) = run(folder.path(), &["check", "--json"], &[]);
    assert!(code == Some(2) && said.contains(r#""line":3,"column":20"#), "{said}");
    let (code, said) = run(folder.path(), &["graphs", "show", "draft"], &[]);
    assert_eq!(code, Some(2), "{said}");
}
