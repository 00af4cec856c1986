use super::*;

/// A process that notes its id in `file`, starts a child of its own and waits for it.
fn victim(file: &Path, trap: &str) -> Vec<OsString> {
    let script = format!(
        "trap '{trap}' TERM; sleep 1000 & echo $! $$ > '{}'; wait; wait; wait",
        file.display()
    );
    vec!["sh".into(), "-c".into(), script.into()]
}

fn ids(file: &Path) -> Vec<String> {
    until("the victim runs", || {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let ids: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        (ids.len() == 2).then_some(ids)
    })
}

fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lives(id: &str) -> bool {
    let status = Command::new("sh").args(["-c", "kill -0 \"$1\" 2>/dev/null", "sh", id]).status();
    status.unwrap().success()
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("agentry-xtask-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn a_dropped_child_ends_with_its_children_and_its_folder() {
    let folder = scratch("dropped");
    let file = folder.join("ids");
    let data = folder.join("data");
    std::fs::create_dir(&data).unwrap();
    let guarded = Watched::new("env").args(victim(&file, "exit")).remove(&data).spawn().unwrap();
    let ids = ids(&file);
    assert!(ids.iter().all(|id| lives(id)));
    drop(guarded);
    for id in ids {
        until("every process of the group is gone", || (!lives(&id)).then_some(()));
    }
    assert!(!data.exists());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_killed_owner_takes_even_a_stubborn_child_along() {
    let folder = scratch("killed");
    let file = folder.join("ids");
    let mut owner = Command::new("sleep").arg("1000").stdout(Stdio::piped()).spawn().unwrap();
    let lifeline = owner.stdout.take().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT, "watchdog", "TERM", "3", ""]).args(victim(&file, ""));
    let mut shell = shell.process_group(0).stdin(lifeline).spawn().unwrap();
    let ids = ids(&file);
    owner.kill().unwrap();
    owner.wait().unwrap();
    shell.wait().unwrap();
    for id in ids {
        until("every process of the group is gone", || (!lives(&id)).then_some(()));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_command_hands_on_its_status() {
    let status = |code: &str| {
        let exit = format!("exit {code}");
        Watched::new("sh").args(["-c", &exit]).spawn().unwrap().wait().unwrap().code()
    };
    assert_eq!([status("0"), status("7")], [Some(0), Some(7)]);
}

#[test]
fn a_failure_quotes_the_log() {
    let folder = scratch("log");
    let log = folder.join("log");
    let failed =
        Watched::new("sh").args(["-c", "echo the disk is full; exit 3"]).log(&log).spawn().unwrap();
    let text = format!("{:#}", failed.finish_within(Duration::from_secs(20)).unwrap_err());
    assert!(text.contains("the disk is full") && text.contains('3'), "{text}");
    std::fs::remove_dir_all(&folder).unwrap();
}
