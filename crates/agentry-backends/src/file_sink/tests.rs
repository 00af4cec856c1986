use super::*;

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_ticket_is_one_file_and_stays_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let tickets = FileTickets::new(folder.path().join("new/tickets"));
    let first = tickets.open("run-7", &json!({"summary": "first"})).await.unwrap();
    let second = tickets.open("run-7", &json!({"summary": "second"})).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(first.id, "run-7.json");
    let text = fs::read_to_string(&first.link).unwrap();
    assert_eq!(
        text,
        "{\n  \"key\": \"run-7\",\n  \"ticket\": {\n    \"summary\": \"first\"\n  }\n}\n"
    );
    assert_eq!(files(&folder.path().join("new/tickets")), ["run-7.json"]);
}

#[tokio::test]
async fn a_key_cannot_leave_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let messages = FileMessages::new(folder.path().join("messages"));
    for key in ["../../outside", "/etc/passwd", "a/b", "a\0b", ""] {
        messages.post(key, &json!({})).await.unwrap();
    }
    assert_eq!(files(folder.path()), ["messages"]);
    assert_eq!(files(&folder.path().join("messages")).len(), 5);
}

#[tokio::test]
async fn of_many_writers_of_one_key_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let tickets = FileTickets::new(folder.path());
    let bodies: Vec<Value> = (0..50).map(|writer| json!({"writer": writer})).collect();
    let writes = bodies.iter().map(|body| tickets.open("run-7", body));
    let receipts = futures_util::future::join_all(writes).await;
    assert!(receipts.iter().all(Result::is_ok));
    assert_eq!(files(folder.path()), ["run-7.json"]);
    let text = fs::read(folder.path().join("run-7.json")).unwrap();
    let kept: Value = serde_json::from_slice(&text).unwrap();
    assert!(bodies.contains(&kept["ticket"]), "{kept}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let error =
        FileTickets::new(folder.path().join("file")).open("run-7", &json!({})).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unavailable { target, .. } if target.ends_with("file")),
        "{error:?}"
    );
}

#[test]
fn a_draft_of_the_dead_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join(format!(".draft-{}-0.tmp", std::process::id()));
    fs::write(&old, "half").unwrap();
    write_once(&folder.path().join("a.json"), &json!(1)).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("a.json")).unwrap(), "1\n");
    assert_eq!(fs::read_to_string(old).unwrap(), "half");
}
