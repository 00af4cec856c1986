//! A configuration, as `agentry check` reads it. The reader belongs to the command, so the command is asked.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::Shape;

/// The command: what AGENTRY_FUZZ_BINARY names, else what was built last.
static COMMAND: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(named) = std::env::var_os("AGENTRY_FUZZ_BINARY") {
        return named.into();
    }
    let target = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target"));
    let built = ["release", "debug"].map(|profile| target.join(profile).join("agentry"));
    let built =
        built.into_iter().filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file)));
    built
        .max()
        .map(|(_, file)| file)
        .expect("build `agentry` first, or name one in AGENTRY_FUZZ_BINARY")
});
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "[[rules]]\nanswer = { text = \"yes\" }\n";
    std::fs::write(folder.path().join("answers.toml"), script).expect("a script");
    folder
});

pub(crate) fn config(data: &[u8]) -> u64 {
    std::fs::write(FOLDER.path().join("agentry.toml"), data).expect("a file");
    let output = Command::new(&*COMMAND)
        .args(["check", "--json"])
        .env_clear()
        .env("KEY", "a-secret-of-enough-letters-for-a-key")
        .current_dir(FOLDER.path())
        .output()
        .expect("the command runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 2)), "it ended with {code:?}: {said}{errors}");
    let json: serde_json::Value = serde_json::from_str(said.trim()).expect("one JSON object");
    let problems = json.get("problems").and_then(|problems| problems.as_array());
    assert_eq!(problems.is_none_or(Vec::is_empty), code == Some(0), "{said}");
    let messages = problems.into_iter().flatten().filter_map(|one| one.get("message")?.as_str());
    messages.take(3).fold(Shape::new().with(code), Shape::words).done()
}
