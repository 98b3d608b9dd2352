use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use super::{LockError, LockState, SlotRecord, inspect, take};
use crate::{
    protocol::{ExitCause, ExitReport, ProcessExit, Transport},
    tree::Identity,
};

fn record(tail: Vec<String>) -> SlotRecord {
    SlotRecord {
        instance: "demo".into(),
        slot: 0,
        run: 7,
        router_id: "r1".into(),
        shim: Identity {
            pid: 10,
            started: 20,
        },
        marker: "00".repeat(16),
        control_path: "/tmp/x.sock".into(),
        transport: Transport::Stdio,
        socket_path: "/tmp/x.sock".into(),
        cgroup: None,
        child: None,
        spec_digest: "d".into(),
        started_at_ms: 1,
        exit: Some(ExitReport {
            exit: Some(ProcessExit::Signal(9)),
            cause: ExitCause::Own,
            stderr_tail: tail,
            stderr_dropped_bytes: 0,
            survivors: vec![],
            at_ms: 2,
        }),
    }
}

fn lock_path() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("godot-mcp-demo.lock");
    (dir, path)
}

#[test]
fn a_held_lock_shows_its_record_and_a_dropped_one_can_be_taken() {
    let (_dir, path) = lock_path();
    assert!(matches!(inspect(&path).unwrap(), LockState::Absent));
    let (mut lock, before) = take(&path).unwrap();
    assert!(before.is_none());
    lock.write(&record(vec!["a long line".repeat(100)]))
        .unwrap();
    lock.write(&record(vec![])).unwrap();
    let LockState::Held(Some(seen)) = inspect(&path).unwrap() else {
        panic!("must be held")
    };
    assert_eq!(seen, record(vec![]));
    let error = take(&path).unwrap_err();
    assert!(
        error.to_string().contains("shim 10 of router r1"),
        "{error}"
    );
    drop(lock);
    let LockState::Taken(lock, Some(left)) = inspect(&path).unwrap() else {
        panic!("must be free")
    };
    assert_eq!(left, record(vec![]));
    lock.remove();
    assert!(matches!(inspect(&path).unwrap(), LockState::Absent));
}

#[test]
fn a_removed_lock_file_is_put_back_and_still_held() {
    let (_dir, path) = lock_path();
    let (mut lock, _) = take(&path).unwrap();
    lock.write(&record(vec![])).unwrap();
    assert!(lock.in_place());
    std::fs::remove_file(&path).unwrap();
    assert!(!lock.in_place());
    lock.put_back(&record(vec![])).unwrap();
    assert!(lock.in_place());
    assert!(matches!(inspect(&path).unwrap(), LockState::Held(Some(_))));
}

#[test]
fn a_file_that_others_may_write_is_not_trusted() {
    let (_dir, path) = lock_path();
    std::fs::write(&path, "{}\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(
        inspect(&path),
        Err(LockError::NotOurs { mode: 0o666, .. })
    ));
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(inspect(&path), Err(LockError::Io { .. })));
}

#[test]
fn a_torn_record_is_no_record() {
    let (_dir, path) = lock_path();
    for content in ["", "{\"instance\":", "not json\n"] {
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(
            matches!(inspect(&path).unwrap(), LockState::Taken(_, None)),
            "{content:?}"
        );
    }
}
