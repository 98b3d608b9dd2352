use std::{fs, path::Path};

use godot_mcp_shim::{paths::rotated_log, protocol::LogLimits};

use super::{BURST_BYTES, LINE_BYTES_MAX, StderrLog, TAIL_BYTES_MAX, TAIL_LINES_MAX};

fn log_at(path: &Path, bytes_max: u64, files_max: u32) -> StderrLog {
    StderrLog::new(LogLimits {
        path: path.to_owned(),
        bytes_max,
        files_max,
    })
}

fn contents(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'), "a log ends where a line does");
    text.lines()
        .map(|line| line.split_once(' ').unwrap().1.to_owned())
        .collect()
}

#[test]
fn lines_are_whole_however_they_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/demo.log");
    let mut log = log_at(&path, 1 << 20, 2);
    for piece in ["one\ntw", "o\r\n", "\nfour, bad: ", "unfinished"] {
        log.take(piece.as_bytes());
    }
    log.take(b"\xff\xfe");
    log.finish_line();
    let bytes = fs::read(&path).unwrap();
    let lines: Vec<&[u8]> = bytes
        .split(|byte| *byte == b'\n')
        .map(|line| &line[line.len().min(25)..])
        .collect();
    assert_eq!(
        lines,
        [
            &b"one"[..],
            b"two",
            b"",
            b"four, bad: unfinished\xff\xfe",
            b""
        ]
    );
    assert_eq!(
        log.tail(),
        ["one", "two", "", "four, bad: unfinished\u{fffd}\u{fffd}"]
    );
}

#[test]
fn rotation_keeps_whole_lines_and_a_bounded_number_of_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("demo.log");
    let mut log = log_at(&path, 1000, 2);
    for number in 0..100 {
        log.take(format!("line {number:03} {}\n", "x".repeat(60)).as_bytes());
    }
    let mut all = Vec::new();
    for file in [rotated_log(&path, 2), rotated_log(&path, 1), path.clone()] {
        assert!(fs::metadata(&file).unwrap().len() <= 1000);
        all.extend(contents(&file));
    }
    assert!(!rotated_log(&path, 3).exists());
    let numbers: Vec<usize> = all.iter().map(|line| line[5..8].parse().unwrap()).collect();
    let first = numbers[0];
    assert!(first > 0, "the oldest must be gone");
    assert_eq!(
        numbers,
        (first..100).collect::<Vec<_>>(),
        "nothing between the oldest kept and the newest is lost"
    );
}

#[test]
fn a_log_that_was_removed_or_moved_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("demo.log");
    let mut log = log_at(&path, 1 << 20, 2);
    log.take(b"before\n");
    fs::rename(&path, dir.path().join("kept.log")).unwrap();
    log.take(b"between\n");
    fs::remove_file(&path).unwrap();
    log.take(b"after\n");
    assert_eq!(contents(&dir.path().join("kept.log")), ["before"]);
    assert_eq!(contents(&path), ["after"]);
}

#[test]
fn what_cannot_be_written_is_counted_and_still_in_the_tail() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("demo.log");
    fs::create_dir(&path).unwrap();
    let mut log = log_at(&path, 1 << 20, 2);
    log.take(b"lost\n");
    assert_eq!(
        (log.dropped_bytes(), log.tail()),
        (5, vec!["lost".to_owned()])
    );
    fs::remove_dir(&path).unwrap();
    log.take(b"seen\n");
    assert_eq!(
        contents(&path),
        ["godot-mcp-shim: 1 lines of stderr dropped here", "seen"]
    );
}

#[test]
fn a_flood_and_an_endless_line_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("demo.log");
    let mut log = log_at(&path, 64 << 20, 2);
    let line = format!("{}\n", "y".repeat(1000));
    // More than the burst and what the time this takes could add.
    for _ in 0..40_000 {
        log.take(line.as_bytes());
    }
    let written = fs::metadata(&path).unwrap().len();
    assert!((BURST_BYTES / 2..30 << 20).contains(&written), "{written}");
    assert!(log.dropped_bytes() > 10 << 20, "{}", log.dropped_bytes());
    assert!(log.tail().len() <= TAIL_LINES_MAX);
    assert!(log.tail().iter().map(String::len).sum::<usize>() <= TAIL_BYTES_MAX);

    let before = log.dropped_bytes();
    for _ in 0..100 {
        log.take(&[b'z'; 10_000]);
    }
    assert!(log.partial.len() <= LINE_BYTES_MAX);
    log.finish_line();
    assert!(log.dropped_bytes() - before >= 900_000);
    assert!(log.tail().last().unwrap().ends_with("bytes more]"));
}
