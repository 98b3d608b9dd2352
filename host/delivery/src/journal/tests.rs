use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::value::to_raw_value;

use super::{
    AlertJournal, JournalContents, JournalRow, NotDurable, format,
    writer::{LIVE_BYTES_MAX, LOG_BYTES_MIN},
};

fn put(key: &str, value: &str) -> JournalRow {
    (key.to_owned(), Some(to_raw_value(value).unwrap()))
}

fn open(dir: &Path) -> (AlertJournal, JournalContents) {
    AlertJournal::open(dir.to_owned()).unwrap()
}

fn rows(dir: &Path) -> BTreeMap<String, String> {
    let (journal, contents) = open(dir);
    drop(journal);
    assert_eq!(contents.damaged, 0);
    texts(&contents)
}

fn texts(contents: &JournalContents) -> BTreeMap<String, String> {
    let rows = contents.rows.iter();
    rows.map(|(key, value)| (key.clone(), serde_json::from_str(value.get()).unwrap()))
        .collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn the_last_row_written_counts_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("alerts");
    let (journal, contents) = open(&dir);
    assert!(contents.rows.is_empty() && !contents.torn);
    journal
        .commit(vec![put("a", "1"), put("b", "1")])
        .await
        .unwrap();
    journal
        .commit(vec![put("a", "2"), ("b".to_owned(), None)])
        .await
        .unwrap();
    drop(journal);
    assert_eq!(
        rows(&dir),
        BTreeMap::from([("a".to_owned(), "2".to_owned())])
    );
    let mode = fs::metadata(&dir).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn whatever_length_a_killed_writer_left_whole_records_are_read_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    let mut ends = vec![0];
    for number in 0..3 {
        let record = [put("k", &number.to_string()), put(&number.to_string(), "x")];
        format::write_record(&record, &mut bytes).unwrap();
        ends.push(bytes.len());
    }
    let path = dir.path().join("torn");
    for length in 0..=bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let mut contents = JournalContents::default();
        format::read_file(&path, &mut contents).unwrap();
        let whole = ends[1..].iter().filter(|end| **end <= length).count();
        assert_eq!(
            contents.rows.len(),
            if whole == 0 { 0 } else { whole + 1 },
            "cut at {length}"
        );
        assert_eq!(contents.torn, !ends.contains(&length), "cut at {length}");
        assert_eq!(contents.damaged, 0);
    }
}

#[tokio::test]
async fn a_flipped_bit_costs_its_record_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    for number in 0..3 {
        format::write_record(&[put(&number.to_string(), "x")], &mut bytes).unwrap();
    }
    let path = dir.path().join("damaged");
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        fs::write(&path, &damaged).unwrap();
        let mut contents = JournalContents::default();
        format::read_file(&path, &mut contents).unwrap();
        // The last newline is what tells a damaged record from a torn one; another joins two records.
        assert!(contents.damaged == 1 || contents.torn, "at {at}");
        assert!(matches!(contents.rows.len(), 1 | 2), "at {at}");
    }
}

#[tokio::test]
async fn a_long_log_becomes_one_file_of_what_counts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (journal, _) = open(dir);
    let text = "x".repeat(8_000);
    let state = journal.state();
    let mut largest = 0;
    for number in 0..600 {
        let key = (number % 50).to_string();
        journal
            .commit(vec![put(&key, &format!("{number} {text}"))])
            .await
            .unwrap();
        largest = largest.max(state.borrow().file_bytes);
    }
    assert!(state.borrow().live_bytes < 450_000);
    assert!(largest < 2 * LOG_BYTES_MIN, "{largest} bytes of files");
    drop(journal);
    let files = files(dir);
    assert_eq!(files.len(), 2, "{files:?}");
    let kept = rows(dir);
    assert_eq!(kept.len(), 50);
    assert!(kept["49"].starts_with("599 "));
}

#[tokio::test]
async fn a_snapshot_that_was_cut_short_and_logs_that_should_be_gone_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (journal, _) = open(dir);
    journal.commit(vec![put("gone", "1")]).await.unwrap();
    let old: Vec<(PathBuf, Vec<u8>)> = files(dir)
        .into_iter()
        .map(|path| {
            let content = fs::read(&path).unwrap();
            (path, content)
        })
        .collect();
    journal
        .commit(vec![("gone".to_owned(), None), put("here", "1")])
        .await
        .unwrap();
    let text = "x".repeat(100_000);
    for number in 0..12 {
        journal
            .commit(vec![put("here", &format!("{number}{text}"))])
            .await
            .unwrap();
    }
    drop(journal);
    let expected = rows(dir);
    assert!(
        files(dir)
            .iter()
            .any(|path| path.to_string_lossy().contains("snapshot"))
    );
    // A kill between the snapshot and the removal of the log before it, and one in the middle of the next snapshot.
    for (path, content) in old {
        fs::write(path, content).unwrap();
    }
    fs::write(
        dir.join("snapshot-00000000000000000099.jsonl.new"),
        "half of",
    )
    .unwrap();
    assert_eq!(rows(dir), expected);
    let (journal, _) = open(dir);
    for number in 0..30 {
        journal
            .commit(vec![put("here", &format!("{number}{text}"))])
            .await
            .unwrap();
    }
    drop(journal);
    assert_eq!(files(dir).len(), 2, "{:?}", files(dir));
    assert_eq!(rows(dir).len(), 1);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_said_and_made_up_for() {
    let dir = tempfile::tempdir().unwrap();
    // A file where the directory would be: so that this also holds for root.
    let place = dir.path().join("alerts");
    fs::write(&place, "").unwrap();
    let (journal, contents) = open(&place);
    assert!(contents.rows.is_empty());
    let refused = journal.commit(vec![put("a", "1")]).await.unwrap_err();
    assert!(matches!(refused, NotDurable::Refused(_)), "{refused}");
    assert!(journal.state().borrow().refusing.is_some());
    fs::remove_file(&place).unwrap();
    let mut state = journal.state();
    let again = state.wait_for(|state| state.refusing.is_none());
    tokio::time::timeout(Duration::from_secs(10), again)
        .await
        .unwrap()
        .unwrap();
    journal.commit(vec![put("b", "1")]).await.unwrap();
    drop(journal);
    assert_eq!(rows(&place).len(), 2);
}

#[tokio::test]
async fn what_could_not_be_read_is_put_aside_and_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // A directory in a log's place cannot be read as a file, not by root either.
    let log = dir.join("journal-00000000000000000007.jsonl");
    fs::create_dir(&log).unwrap();
    let (journal, _) = open(dir);
    journal.commit(vec![put("a", "1")]).await.unwrap();
    drop(journal);
    assert!(!log.exists() && log.with_extension("unread").exists());
    assert_eq!(rows(dir).len(), 1);
    fs::set_permissions(dir, Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn it_never_holds_more_than_a_start_reads_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (journal, _) = open(dir);
    let text = "x".repeat(1_000_000);
    let mut number = 0;
    let refused = loop {
        match journal.commit(vec![put(&number.to_string(), &text)]).await {
            Ok(()) => number += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, NotDurable::Full { .. }), "{refused}");
    assert!((30..=34).contains(&number), "{number} MB");
    // There is room again for what takes the place of something.
    journal
        .commit(vec![("0".to_owned(), None), put("new", "1")])
        .await
        .unwrap();
    assert!(journal.state().borrow().file_bytes <= 2 * LIVE_BYTES_MAX + LOG_BYTES_MIN);
    drop(journal);
    let started = Instant::now();
    let (journal, contents) = open(dir);
    let elapsed = started.elapsed();
    println!("{} rows read in {elapsed:?}", contents.rows.len());
    assert_eq!(contents.rows.len(), number);
    // A second as measured on a machine with nothing else to do; ten times that is a fault on any.
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    drop(journal);
}
