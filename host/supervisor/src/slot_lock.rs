//! Slot locks, read and taken off the threads that serve requests.

use std::{path::Path, time::Duration};

use godot_mcp_shim::record::{self, LockError, LockState, SlotLock, SlotRecord};
use tokio::time::Instant;

use crate::context::blocking;

/// How long after a shim's death its lock may still be held, by a child that it was just forking.
const FREE_WITHIN: Duration = Duration::from_secs(1);

/// Between two attempts at a lock that is still held. A lock cannot be waited for with a deadline.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(100);

/// The state of a lock; it is taken when it exists and no process holds it. `None` when the runtime is shutting down.
pub(crate) async fn inspect(path: &Path) -> Option<Result<LockState, LockError>> {
    let path = path.to_owned();
    blocking(move || record::inspect(&path)).await
}

/// What the living holder of a lock has written into it.
pub(crate) async fn held_record(path: &Path) -> Option<SlotRecord> {
    match inspect(path).await? {
        Ok(LockState::Held(record)) => record,
        _ => None,
    }
}

/// Takes the lock of a shim that is dead. It may stay held for a moment, by a child in the middle of its fork or by a process that
/// inspects it.
pub(crate) async fn take_from_dead(path: &Path) -> Option<(SlotLock, Option<SlotRecord>)> {
    let deadline = Instant::now() + FREE_WITHIN;
    loop {
        match inspect(path).await? {
            Ok(LockState::Taken(lock, record)) => return Some((lock, record)),
            Ok(LockState::Absent) => return None,
            Ok(LockState::Held(_)) | Err(_) if Instant::now() >= deadline => return None,
            Ok(LockState::Held(_)) | Err(_) => tokio::time::sleep(ATTEMPT_INTERVAL).await,
        }
    }
}
