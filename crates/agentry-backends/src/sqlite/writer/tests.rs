use super::super::read::Readers;
use super::super::schema::open_writer;
use super::{COMMAND_BYTES, LOG_BYTES_MAX, LOOK_AFTER, queue};

/// Of a log that has some pages: whether it is still there after so many more bytes, and may be as large.
fn check(bytes_max: u64, grown_by: &[usize], kept: bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let connection = open_writer(&path).unwrap();
    connection.execute("INSERT INTO programs (graph, version) VALUES ('g', '1')", []).unwrap();
    let (_queue, writer) = queue();
    let mut log = writer.bounding(Readers::new(path)).log.unwrap();
    let size = || std::fs::metadata(folder.path().join("a.db-wal")).unwrap().len();
    assert!(size() > 0);
    log.bytes_max = bytes_max;
    for bytes in grown_by {
        log.grown(&connection, *bytes);
    }
    assert_eq!(size() > 0, kept, "{bytes_max}, {grown_by:?}");
}

#[test]
fn a_large_log_is_begun_anew_when_enough_was_written_since_somebody_looked() {
    check(1, &[COMMAND_BYTES, LOOK_AFTER - COMMAND_BYTES - 1], true);
    check(1, &[COMMAND_BYTES, LOOK_AFTER - COMMAND_BYTES], false);
    check(LOG_BYTES_MAX, &[LOOK_AFTER, LOOK_AFTER], true);
}
