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
    check("{{ 'x' * 900000000000 }}", "a template does not multiply");
    check(&"x".repeat(70_000), "more than 65536 bytes");
    check("{{ topic", "unexpected end");
}

/// Whatever is written and however much it is given: a text or an error, in little time, memory and stack.
#[test]
fn what_it_may_cost_is_bounded() {
    let check = |text: &str, expected: &str| {
        let short: String = text.chars().take(60).collect();
        let error = render(text).map(|text| text.len()).expect_err(&short);
        assert!(error.contains(expected), "{short}: {error}");
    };
    check(&format!("{{{{ 1{} }}}}", "+1".repeat(9_000)), "more than 200 words and signs");
    check(&format!("{{{{ user{} }}}}", ".a".repeat(9_000)), "more than 200 words and signs");
    check(&format!("{{{{ big{} }}}}", "|upper".repeat(9_000)), "more than 200 words and signs");
    check("{% set a = big ~ big %}", "what is put together belongs where it is used");
    check("{% set a = [big, big] %}", "a list or a filter that others go into");
    check("{% set a = notes|map(attribute='x', default=big) %}", "that others go into");
    check("{% set a %}{{ big }}{% endset %}", "needs a `=`");
    check("{% for a in big ~ big %}{% endfor %}", "what is put together");
    check("{% for a in ['x' + 'y'] %}{% endfor %}", "what is put together");
    check("{% for a in notes recursive %}{{ loop(notes) }}{% endfor %}", "not `recursive`");
    check("{% filter upper %}x{% endfilter %}", "a template has no `filter`");
    check("{%- with a = 1 %}{% endwith %}", "a template has no `with`");
    check(&"{% for a in notes %}".repeat(9), "more than 8 loops");
    check(&"{% set a = big %}".repeat(17), "more than 16 `set`");
    check("{{ namespace(a=1) }}", "namespace");
    check("{{ big|replace('x', big)|replace('x', big) }}", "too long to write");
    check("{{ range(99999)|map('replace', '1', big)|list }}", "too long to write");
    check("{{ range(99999)|join(big) }}", "too long to write");
    check("{{ big|indent(10000000000) }}", "more than 1000 at once");
    check("{{ big|indent(width=10000000000) }}", "more than 1000 at once");
    check("{{ notes|tojson(indent=10000000000) }}", "more than 1000 at once");
    check("{{ '%10000000000s'|format(topic) }}", "more than 1000 at once");
    check("{{ notes|batch(10000000000, 'x') }}", "filter batch is unknown");
    let check =
        |text: &str, expected: &str| assert_eq!(render(text).as_deref(), Ok(expected), "{text}");
    check("{% set n = notes|length - 1 %}{{ n + 1 }}{{ topic ~ '.' }}", "2rain.");
    check("{% for a in notes|reject('eq', topic)|sort if a != topic %}{{ a }}{% endfor %}", "ab");
    check("{% for k, v in user|items %}{{ k }}={{ v|upper }}{% endfor %}", "name=ADA");
    check("{% for a in [1, 'b'] %}{{ a }}{% endfor %}{{ notes|join(', ') }}", "1ba, b");
    check("{% raw %}{% with %}{{ a * b }}{% endraw %}{# {{ a * b }} #}", "{% with %}{{ a * b }}");
    check(
        "{{ 'a*}}b' }}{{ notes|map('upper')|join }}{{ user|tojson(indent=1) }}",
        "a*}}bAB{\n \"name\": \"Ada\"\n}",
    );
    check("{{ 'no\nway'|indent(2) }}{{ '%s-%03d'|format(topic, 7) }}", "no\n  wayrain-007");
}

#[test]
fn a_template_knows_its_names() {
    let template = Template::parse(
        "{% set a = 1 %}{{ a }}{{ b.c }}{% for d in e %}{{ d }}{% endfor %}{{ range(f) }}",
    );
    assert_eq!(template.unwrap().names(), ["b", "e", "f"]);
}
