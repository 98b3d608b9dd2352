//! Finding what an earlier life of this router left in the socket directory: living shims to adopt, reports of runs
//! that ended meanwhile, and trees whose shim was killed.
//!
//! Only slots of this router's name are touched. What another router left is its own to adopt; a launch of the same
//! slot clears it when its shim is dead, and names its holder when it is not.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use godot_mcp_shim::{
    paths::{FILE_PREFIX, LOCK_SUFFIX},
    record::{LockState, SlotLock, SlotRecord},
};
use router_core::{InstanceId, SlotKey};
use tokio::sync::oneshot;

use crate::{
    SupervisorEvent,
    context::{Context, blocking},
    slot::FoundShim,
    slot_lock,
    slots::Slots,
    sweep::report_or_sweep,
};

/// Deals with everything found, then reports that it is done.
pub(crate) async fn adopt_all(context: Arc<Context>, slots: Arc<Slots>) {
    let mut answers = Vec::new();
    // Sweeps take time, which a survivor that waits for its router may not have: they come after all survivors.
    let mut dead = Vec::new();
    for lock_path in list_locks(&context).await {
        match inspect(&context, &lock_path).await {
            Some(Inspected::Alive(key, record)) => {
                let (done, answer) = oneshot::channel();
                let found = FoundShim {
                    key,
                    lock_path,
                    record,
                };
                slots.adopt(found, done);
                answers.push(answer);
            }
            Some(Inspected::Dead(key, lock, record)) => dead.push((key, lock, record)),
            None => {}
        }
    }
    for (key, lock, record) in dead {
        report_or_sweep(&context, &key, Some(lock), record, None).await;
    }
    let mut adopted = 0;
    for answer in answers {
        adopted += usize::from(answer.await.unwrap_or(false));
    }
    context
        .emit(SupervisorEvent::AdoptionFinished { adopted })
        .await;
}

/// A slot of this router's name.
enum Inspected {
    /// Its shim lives.
    Alive(SlotKey, SlotRecord),
    /// Its shim is dead, and the lock is ours.
    Dead(SlotKey, SlotLock, SlotRecord),
}

async fn inspect(context: &Context, lock_path: &Path) -> Option<Inspected> {
    match slot_lock::inspect(lock_path).await? {
        Ok(LockState::Held(Some(record))) => {
            Some(Inspected::Alive(key_of_ours(context, &record)?, record))
        }
        Ok(LockState::Taken(lock, Some(record))) => Some(Inspected::Dead(
            key_of_ours(context, &record)?,
            lock,
            record,
        )),
        // Left by a shim that was killed before it wrote anything, and started anything.
        Ok(LockState::Taken(lock, None)) => {
            lock.remove();
            None
        }
        Ok(LockState::Held(None) | LockState::Absent) => None,
        Err(error) => {
            tracing::warn!(error = %error, "slot lock skipped");
            None
        }
    }
}

fn key_of_ours(context: &Context, record: &SlotRecord) -> Option<SlotKey> {
    if record.router_id != context.config.router_id {
        tracing::debug!(instance = %record.instance, reason = "another router's", "slot skipped");
        return None;
    }
    let instance = InstanceId::parse(&record.instance).ok()?;
    Some(SlotKey {
        instance,
        slot: record.slot,
    })
}

async fn list_locks(context: &Context) -> Vec<PathBuf> {
    let directory = context.config.socket_dir.clone();
    let listed = blocking(move || lock_files(&directory)).await;
    listed
        .unwrap_or_else(|| Ok(Vec::new()))
        .unwrap_or_else(|error| {
            tracing::error!(
                path = %context.config.socket_dir.display(),
                error = %error,
                "socket directory not listed: instances of an earlier life are not adopted"
            );
            Vec::new()
        })
}

fn lock_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.flatten();
    let ours = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with(FILE_PREFIX) && name.ends_with(LOCK_SUFFIX)
    });
    Ok(ours.map(|entry| entry.path()).collect())
}
