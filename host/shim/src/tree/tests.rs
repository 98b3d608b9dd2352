use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{Identity, ProcessTable, Stat, SweepTarget, carries, marked, sweep};
use crate::protocol::MARKER_VARIABLE;

fn marker(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < end, "timed out waiting for {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_command_name_full_of_parentheses_is_read_past() {
    let text = b"42 (a) b) (c) S 7 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 12345 1000 321 18446744073709551615 0\n";
    let stat = Stat::parse(42, text).unwrap();
    assert_eq!(
        stat.identity,
        Identity {
            pid: 42,
            started: 12345
        }
    );
    assert_eq!(
        (stat.parent, stat.resident_pages, stat.dead),
        (7, 321, false)
    );
}

#[test]
fn our_own_process_is_read_plausibly() {
    let own = i32::try_from(std::process::id()).unwrap();
    let stat = Stat::read(own).unwrap();
    assert!(
        stat.resident_pages > 100 && !stat.dead && stat.identity.started > 0,
        "{stat:?}"
    );
    assert_eq!(
        stat.parent,
        i32::try_from(std::os::unix::process::parent_id()).unwrap()
    );
}

#[test]
fn a_process_with_another_start_time_is_never_signalled() {
    let mut child = Command::new("sleep")
        .arg("60")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let real = Identity::of(i32::try_from(child.id()).unwrap()).unwrap();
    let stale = Identity {
        started: real.started + 1,
        ..real
    };
    assert!(!stale.signal(Signal::KILL));
    assert!(real.alive() && !stale.alive());
    assert!(real.signal(Signal::KILL));
    child.wait().unwrap();
    assert!(!real.alive());
}

#[test]
fn a_sweep_finds_those_that_left_their_session_and_their_parent_and_no_other() {
    let marker = marker("sweep");
    let mut bystander = Command::new("sleep")
        .arg("60")
        .env(MARKER_VARIABLE, format!("{marker}x"))
        .spawn()
        .unwrap();
    let script = "setsid sh -c 'sleep 61 & sleep 62 & wait' & (sleep 63 &) ; exec sleep 64";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .env(MARKER_VARIABLE, &marker)
        .process_group(0)
        .spawn()
        .unwrap();
    wait_for("five marked processes", || marked(&marker).len() >= 5);
    let target = SweepTarget {
        marker: &marker,
        ..SweepTarget::default()
    };
    let swept = sweep(&target, Duration::from_secs(10));
    assert!(swept.killed >= 5 && swept.survivors.is_empty(), "{swept:?}");
    child.wait().unwrap();
    assert_eq!(marked(&marker), []);
    assert!(
        bystander.try_wait().unwrap().is_none(),
        "a process with another marker was killed"
    );
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn a_process_that_turns_into_another_program_all_the_time_is_found_by_each_read() {
    let marker = marker("exec");
    let mut child = Command::new("sh")
        .args(["-c", "exec sh -c \"$0\" \"$0\"", "exec sh -c \"$0\" \"$0\""])
        .env(MARKER_VARIABLE, &marker)
        .spawn()
        .unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let end = Instant::now() + Duration::from_secs(2);
    let mut reads = 0;
    let missed = loop {
        reads += 1;
        if !carries(pid, &marker) {
            break true;
        }
        if Instant::now() >= end {
            break false;
        }
    };
    let lives = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(lives, "it ended by itself");
    assert!(!missed, "not found by read {reads}");
}

#[test]
fn a_recorded_process_is_found_without_its_marker_and_brings_its_children() {
    let mut child = Command::new("env")
        .args(["-i", "/bin/sh", "-c", "sleep 65 & sleep 66 & wait"])
        .spawn()
        .unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    wait_for("its children", || {
        ProcessTable::read().descendants(pid).len() == 2
    });
    let recorded = [Identity::of(pid).unwrap()];
    let below = ProcessTable::read().descendants(pid);
    let target = SweepTarget {
        recorded: &recorded,
        ..SweepTarget::default()
    };
    let swept = sweep(&target, Duration::from_secs(10));
    assert_eq!((swept.killed, swept.survivors.len()), (3, 0));
    child.wait().unwrap();
    assert!(below.iter().all(|stat| !stat.identity.alive()));
}
