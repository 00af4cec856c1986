use serde_json::json;

use super::*;

fn render(text: &str) -> Result<String, String> {
    let state = json!({ "topic": "rain", "notes": ["a", "b"], "user": { "name": "Ada" }, "big": "x".repeat(1000) });
    let template = Template::parse(text).map_err(|bad| bad.message)?;
    template.render(|name| state.get(name).cloned())
}

#[test]
fn a_template_writes_what_the_state_holds() {
    let check = |text: &str, expected: &str| {
        assert_eq!(render(text).as_deref(), Ok(expected), "{text}");
    };
    check("About {{ topic }}.", "About rain.");
    check("{% for note in notes %}{{ loop.index }}{{ note }} {% endfor %}", "1a 2b ");
    check("{{ user.name | upper }}", "ADA");
    check("{{ user }}", r#"{"name":"Ada"}"#);
    check("{{ notes }}", r#"["a","b"]"#);
    check("{{ draft | default('none') }}", "none");
    check("{% if draft %}yes{% else %}no{% endif %}", "no");
    check("<b>{{ '<i>' }}</b>", "<b><i></b>");
}

#[test]
fn a_template_is_bounded() {
    let check = |text: &str, expected: &str| {
        let error = render(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    };
    check("{% for a in range(5000) %}{{ big }}{% endfor %}", "more than 1048576 bytes");
    check(
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "too long",
    );
    check("{{ nothing }}", "`nothing` has no value here");
    check("{{ 'x' * 900000000000 }}", "too large");
    check(&"x".repeat(70_000), "more than 65536 bytes");
    check("{{ topic", "unexpected end");
}

#[test]
fn a_template_knows_its_names() {
    let template = Template::parse(
        "{% set a = 1 %}{{ a }}{{ b.c }}{% for d in e %}{{ d }}{% endfor %}{{ range(f) }}",
    );
    assert_eq!(template.unwrap().names(), ["b", "e", "f"]);
}
