//! What happens to the file and to standard output, and that nobody who logs ever waits for it.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use router_values::LogFilter;

use super::{Bench, DAY_MS, FILE_NAME, Kept, LogOptions, wait_for_text, wait_until};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn messages(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| line.rsplit(": ").next().unwrap().to_owned())
        .collect()
}

#[test]
fn everything_queued_is_written_when_it_ends() {
    let bench = Bench::new(|_| {});
    for at in 0..2_000 {
        bench.log(|| tracing::info!("line {at}"));
    }
    let path = bench.path();
    let (stdout, _dir) = bench.finish();
    assert_eq!(stdout.lines().count(), 2_000);
    assert_eq!(fs::read_to_string(&path).unwrap(), stdout);
    assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o640);
}

#[test]
fn a_new_day_begins_a_new_file_and_old_ones_go() {
    let bench = Bench::new(|options| options.keep_days = Some(2));
    for day in 0..5 {
        // Waited for, since a batch may hold several days.
        bench.log(|| tracing::info!("day {day}"));
        bench.wait_for(&format!("day {day}"));
        bench.pass(DAY_MS);
    }
    let expected = [
        "godot-mcp-router.2026-01-04.log",
        "godot-mcp-router.2026-01-05.log",
        FILE_NAME,
    ];
    assert_eq!(names(&bench.logs()), expected);
    assert_eq!(messages(&bench.logs().join(expected[0])), ["day 2"]);
    assert_eq!(messages(&bench.path()), ["day 4"]);
}

#[test]
fn lines_of_several_days_in_one_batch_go_to_their_files() {
    let bench = Bench::new(|_| {});
    bench.log(|| tracing::info!("first"));
    bench.wait_for("first");
    // All queued before the writer can take them: they may come in one batch or in several.
    for day in 1..4 {
        bench.pass(DAY_MS);
        bench.log(|| tracing::info!("day {day} a"));
        bench.log(|| tracing::info!("day {day} b"));
    }
    let logs = bench.logs();
    let (_, _dir) = bench.finish();
    assert_eq!(
        messages(&logs.join("godot-mcp-router.2026-01-03.log")),
        ["day 1 a", "day 1 b"]
    );
    assert_eq!(messages(&logs.join(FILE_NAME)), ["day 3 a", "day 3 b"]);
}

#[test]
fn a_file_that_grows_too_large_is_rotated_within_its_day() {
    let bench = Bench::new(|options| options.rotate_bytes = 200);
    for at in 0..8 {
        bench.log(|| tracing::info!("a line of about seventy bytes, number {at}"));
        bench.wait_for(&format!("number {at}"));
    }
    let found = names(&bench.logs());
    assert!(
        found.contains(&"godot-mcp-router.2026-01-02.log".to_owned()),
        "{found:?}"
    );
    assert!(
        found.contains(&"godot-mcp-router.2026-01-02.1.log".to_owned()),
        "{found:?}"
    );
    assert!(found.iter().all(|name| name.ends_with(".log")), "{found:?}");
    let lines: usize = found
        .iter()
        .map(|name| messages(&bench.logs().join(name)).len())
        .sum();
    assert_eq!(lines, 8);
}

#[test]
fn a_file_that_was_deleted_moved_or_replaced_is_opened_again() {
    let bench = Bench::new(|_| {});
    bench.log(|| tracing::info!("one"));
    bench.wait_for("one");
    fs::remove_file(bench.path()).unwrap();
    bench.log(|| tracing::info!("two"));
    bench.wait_for("two");
    assert_eq!(messages(&bench.path()), ["two"]);

    let moved = bench.logs().join("moved");
    fs::rename(bench.path(), &moved).unwrap();
    bench.log(|| tracing::info!("three"));
    bench.wait_for("three");
    assert_eq!(
        (messages(&bench.path()), messages(&moved)),
        (vec!["three".to_owned()], vec!["two".to_owned()])
    );

    fs::write(bench.logs().join("new"), "").unwrap();
    fs::rename(bench.logs().join("new"), bench.path()).unwrap();
    bench.log(|| tracing::info!("four"));
    bench.wait_for("four");

    fs::remove_dir_all(bench.logs()).unwrap();
    bench.log(|| tracing::info!("five"));
    bench.wait_for("five");
    assert_eq!(messages(&bench.path()), ["five"]);
    assert_eq!(bench.guard.control().lines_dropped(), 0);
}

#[test]
fn a_file_that_was_emptied_in_place_goes_on_at_its_beginning() {
    let bench = Bench::new(|_| {});
    bench.log(|| tracing::info!("one"));
    bench.wait_for("one");
    fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(bench.path())
        .unwrap();
    bench.log(|| tracing::info!("two"));
    bench.wait_for("two");
    assert_eq!(messages(&bench.path()), ["two"], "no hole of zeros");
}

#[test]
fn a_full_disk_costs_its_lines_and_nothing_else_each_time() {
    let bench = Bench::new(|_| {});
    fs::create_dir_all(bench.logs()).unwrap();
    let control = bench.guard.control();
    let said = bench.stdout.clone();
    for (time, per_time) in [(1, 3), (2, 5)] {
        let before = control.lines_dropped();
        let _ = fs::remove_file(bench.path());
        symlink("/dev/full", bench.path()).unwrap();
        for at in 1..=per_time {
            bench.log(|| tracing::info!("lost {at}"));
            wait_until(
                || control.lines_dropped() == before + at,
                || format!("{at} lost lines"),
            );
        }
        let complaints = || said.text().matches("ERROR").count();
        wait_until(
            || complaints() == time,
            || format!("one complaint each time: {}", said.text()),
        );
        fs::remove_file(bench.path()).unwrap();
        bench.log(|| tracing::info!("kept {time}"));
        bench.wait_for(&format!("dropped={per_time}"));
        let lines = fs::read_to_string(bench.path()).unwrap();
        assert!(lines.contains("kept") && !lines.contains("lost"), "{lines}");
    }
    let (stdout, _dir) = bench.finish();
    assert!(stdout.contains("lost 5"), "standard output had all of it");
}

#[test]
fn a_directory_that_cannot_be_made_is_no_reason_not_to_start() {
    let bench = Bench::new(|_| {});
    fs::write(bench.logs(), "in the way").unwrap();
    bench.log(|| tracing::info!("lost"));
    let control = bench.guard.control();
    wait_until(|| control.lines_dropped() == 1, || "the lost line".into());
    fs::remove_file(bench.logs()).unwrap();
    bench.log(|| tracing::info!("kept"));
    bench.wait_for("dropped=1");
}

#[test]
fn a_line_torn_by_a_crash_is_ended_before_the_next_one() {
    let bench = Bench::new(|_| {});
    fs::create_dir_all(bench.logs()).unwrap();
    fs::write(bench.path(), "half a li").unwrap();
    bench.log(|| tracing::info!("whole"));
    bench.wait_for("whole");
    let text = fs::read_to_string(bench.path()).unwrap();
    assert_eq!(text.lines().next(), Some("half a li"));
    assert_eq!(text.lines().count(), 2);
}

/// A standard output that takes nothing until it is released.
struct Stuck {
    release: Arc<Mutex<mpsc::Receiver<()>>>,
    kept: Kept,
}

impl io::Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Returns at once when the sender is gone.
        let _ = self.release.lock().recv();
        io::Write::write(&mut self.kept, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn stuck() -> (Bench, mpsc::Sender<()>) {
    let (sender, receiver) = mpsc::channel();
    let kept = Kept::default();
    let console = Stuck {
        release: Arc::new(Mutex::new(receiver)),
        kept: kept.clone(),
    };
    (Bench::with_console(|_| {}, Box::new(console), kept), sender)
}

/// Some 8 MB in lines: more than any queue holds.
fn flood(bench: &Bench) -> u64 {
    let long = "x".repeat(4_000);
    for at in 0..2_000 {
        bench.log(|| tracing::info!(at, reason = long, "flood"));
        if at % 200 == 199 {
            // The file falls no further behind when it is given the time that a flood does not give it.
            bench.wait_for(&format!(" at={at} "));
        }
    }
    2_000
}

#[test]
fn a_stuck_standard_output_holds_up_nobody_and_says_later_what_it_lost() {
    let (bench, release) = stuck();
    let lines = flood(&bench);
    let file = fs::read_to_string(bench.path()).unwrap();
    assert_eq!(file.lines().count() as u64, lines, "the file has all of it");
    let lost = bench.guard.control().lines_dropped();
    assert!(lost > 0 && lost < lines, "{lost}");
    drop(release);
    // What was queued goes out, and then what was lost is reported.
    let said = bench.stdout.clone();
    wait_until(
        || said.text().contains(&format!("dropped={lost}")),
        || format!("dropped={lost}"),
    );
    let (stdout, _dir) = bench.finish();
    assert_eq!(
        stdout.lines().filter(|line| line.contains("flood")).count() as u64,
        lines - lost
    );
}

#[test]
fn a_stuck_file_holds_up_nobody_either() {
    let bench = Bench::new(|_| {});
    fs::create_dir_all(bench.logs()).unwrap();
    // A pipe that nobody reads takes 64 kB and then no more.
    let made = std::process::Command::new("mkfifo")
        .arg(bench.path())
        .status()
        .unwrap();
    assert!(made.success());
    let long = "x".repeat(4_000);
    for at in 0..2_000 {
        bench.log(|| tracing::info!(at, reason = long, "flood"));
        if at % 200 == 199 {
            let said = bench.stdout.clone();
            wait_until(
                || said.text().contains(&format!(" at={at} ")),
                || format!("line {at} on standard output"),
            );
        }
    }
    assert!(bench.guard.control().lines_dropped() > 0);
    let begun = Instant::now();
    let (stdout, _dir) = bench.finish();
    assert_eq!(
        stdout.lines().filter(|line| line.contains("flood")).count(),
        2_000
    );
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "the end does not wait for it"
    );
}

#[test]
fn many_threads_log_whole_lines() {
    let bench = Bench::new(|_| {});
    thread::scope(|scope| {
        for who in 0..4 {
            let dispatch = &bench.dispatch;
            scope.spawn(move || {
                tracing::dispatcher::with_default(dispatch, || {
                    for at in 0..500 {
                        tracing::info!(who, at, "together");
                    }
                });
            });
        }
    });
    let (stdout, _dir) = bench.finish();
    let whole = stdout
        .lines()
        .filter(|line| line.starts_with("2026-") && line.contains("together who="));
    assert_eq!(whole.count(), 2_000);
}

#[test]
fn the_level_changes_at_run_time() {
    let bench = Bench::new(|options: &mut LogOptions| options.level = LogFilter::default());
    let control = bench.guard.control();
    assert_eq!(control.level().as_str(), "info");
    bench.log(|| tracing::debug!("unheard"));
    control.set_level(LogFilter::parse("debug").unwrap());
    bench.log(|| tracing::debug!("heard"));
    assert_eq!(control.level().as_str(), "debug");
    bench.log(|| tracing::debug!("still heard"));
    control.set_level(LogFilter::parse("error").unwrap());
    bench.log(|| tracing::warn!("unheard"));
    let (stdout, _dir) = bench.finish();
    let heard: Vec<_> = stdout
        .lines()
        .map(|line| line.rsplit(": ").next().unwrap())
        .collect();
    assert_eq!(heard, ["heard", "still heard"]);
}

#[test]
fn audit_lines_are_written_at_every_level() {
    for level in ["warn", "error", "off", "error,audit=off"] {
        let bench = Bench::new(|options: &mut LogOptions| options.level = LogFilter::default());
        bench.log(|| {
            let filter = LogFilter::parse(level).unwrap();
            bench.guard.control().set_level(filter);
            tracing::info!(target: "audit", action = "instance.stop", instance = "demo", "AUDIT");
            tracing::info!("AUDIT is only a word here");
        });
        let (stdout, _dir) = bench.finish();
        assert!(
            stdout.contains("INFO audit: AUDIT version_id: demo action=instance.stop"),
            "{level}: {stdout}"
        );
        assert_eq!(stdout.lines().count(), 1, "{level}: {stdout}");
    }
}

#[test]
fn a_panic_is_in_the_log() {
    super::super::log_panics();
    let bench = Bench::new(|_| {});
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        bench.log(|| panic!("the invariant of {} does not hold", "demo"));
    }));
    assert!(caught.is_err());
    let (stdout, _dir) = bench.finish();
    assert!(
        stdout.contains("ERROR") && stdout.contains("the invariant of demo does not hold"),
        "{stdout}"
    );
    assert!(stdout.contains("destinations.rs"), "{stdout}");
}

#[test]
fn without_a_directory_only_standard_output_is_written() {
    let bench = Bench::new(|options| options.dir = None);
    bench.log(|| tracing::info!("here"));
    let (stdout, dir) = bench.finish();
    assert!(stdout.contains("here"));
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_file_of_an_earlier_day_is_put_away_at_start() {
    let bench = Bench::new(|_| {});
    fs::create_dir_all(bench.logs()).unwrap();
    fs::write(bench.path(), "an old line\n").unwrap();
    let file = fs::File::options().append(true).open(bench.path()).unwrap();
    let old = std::time::UNIX_EPOCH + Duration::from_secs(1_767_182_400); // 2025-12-31T12:00:00Z
    file.set_modified(old).unwrap();
    bench.log(|| tracing::info!("new"));
    wait_for_text(
        &bench.logs().join("godot-mcp-router.2025-12-31.log"),
        "an old line",
    );
    bench.wait_for("new");
    assert_eq!(messages(&bench.path()), ["new"]);
}
