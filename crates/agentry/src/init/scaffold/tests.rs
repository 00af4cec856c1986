use super::*;
use crate::config;

#[test]
fn whatever_is_set_the_scaffold_is_a_good_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for set in 0..1_u32 << PROVIDERS.len() {
        let names = PROVIDERS.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1);
        let environment: BTreeMap<String, String> =
            names.map(|(_, (name, _))| ((*name).to_owned(), "x".to_owned())).collect();
        let text = scaffold(&environment);
        let config = config::read_text(&text, folder.path(), &environment);
        let config = config.unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(config.providers.len(), environment.len());
    }
}

#[test]
fn what_waits_in_the_scaffold_is_good_too() {
    let folder = tempfile::tempdir().unwrap();
    let secret = |name: &str| (name.to_owned(), "0123456789abcdef0123456789abcdef".to_owned());
    let environment = BTreeMap::from(["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "CI_KEY"].map(secret));
    let mut text = scaffold(&environment);
    let waiting = REST.lines().filter_map(|line| line.strip_prefix("# "));
    // Sentences begin with a capital letter or go on after one.
    for line in waiting.filter(|line| line.contains('=') || line.starts_with('[')) {
        text.push_str(line);
        text.push('\n');
    }
    let config = config::read_text(&text, folder.path(), &environment);
    let config = config.unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(config.cache.is_some() && config.guards.is_some());
}
