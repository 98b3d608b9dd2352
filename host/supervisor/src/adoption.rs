//! Finding what an earlier life of this router left in the socket directory: living shims to adopt, reports of runs
//! that ended meanwhile, and trees whose shim was killed.
//!
//! Only slots of this router's name are touched. What another router left is its own to adopt; a launch of the same
//! slot clears it when its shim is dead, and says who holds it when it is not.

use std::{
    fs, io,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use godot_mcp_shim::{
    cgroup,
    paths::{FILE_PREFIX, LOCK_SUFFIX},
    record::{self, LockState, SlotLock, SlotRecord},
    tree::{Identity, Swept, Target, sweep},
};
use router_core::{InstanceId, Run, SlotKey};
use tokio::{runtime::Handle, sync::oneshot};

use crate::{
    ExitCause, SlotExit, SupervisorEvent,
    slots::{Live, Slots},
    supervisor::Surroundings,
};

/// How long a sweep may take; longer means uninterruptible sleep.
const SWEEP_WITHIN: Duration = Duration::from_secs(10);

/// How often to look whether processes that wait in the kernel are gone: it takes as long as a disk or a network file system
/// takes.
const OUTLAST_LOOK: Duration = Duration::from_millis(500);

/// A slot of ours whose shim is alive.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) key: SlotKey,
    pub(crate) lock_path: PathBuf,
    pub(crate) record: SlotRecord,
}

/// Deals with everything found, then says so.
pub(crate) async fn adopt_all(around: Arc<Surroundings>, slots: Arc<Slots>, runtime: Handle) {
    let directory = around.config.socket_dir.clone();
    let locks = blocking(move || lock_files(&directory)).await;
    let locks = locks
        .unwrap_or_else(|| Ok(Vec::new()))
        .unwrap_or_else(|error| {
            tracing::error!(
                path = %around.config.socket_dir.display(),
                error = %error,
                "instances of an earlier life were not looked for"
            );
            Vec::new()
        });
    let mut answers = Vec::new();
    // Sweeps take time, which a survivor that waits for its router may not have: they come after all survivors.
    let mut dead = Vec::new();
    for lock_path in locks {
        let path = lock_path.clone();
        let Some(looked) = blocking(move || record::look(&path)).await else {
            continue;
        };
        match looked {
            Ok(LockState::Held(Some(record))) => {
                let Some(key) = key_of_ours(&around, &record) else {
                    continue;
                };
                let (done, answer) = oneshot::channel();
                slots.adopt(
                    &around,
                    &runtime,
                    Found {
                        key,
                        lock_path,
                        record,
                    },
                    done,
                );
                answers.push(answer);
            }
            Ok(LockState::Taken(lock, Some(record))) => {
                let Some(key) = key_of_ours(&around, &record) else {
                    continue;
                };
                dead.push((key, lock, record));
            }
            // Left by a shim that was killed before it wrote anything, and started anything.
            Ok(LockState::Taken(lock, None)) => lock.remove(),
            Ok(LockState::Held(None) | LockState::Absent) => {}
            Err(error) => tracing::warn!(error = %error, "a slot lock was passed over"),
        }
    }
    for (key, lock, record) in dead {
        settle_dead(&around, &key, Some(lock), record, None).await;
    }
    let mut adopted = 0;
    for answer in answers {
        adopted += usize::from(answer.await.unwrap_or(false));
    }
    tell(&around, SupervisorEvent::AdoptionFinished { adopted }).await;
}

/// Reports how a run ended whose shim is gone, or sweeps after it. The lock is ours meanwhile, so that no new shim
/// begins before this is over; there is none where somebody removed the file.
pub(crate) async fn settle_dead(
    around: &Surroundings,
    key: &SlotKey,
    lock: Option<SlotLock>,
    record: SlotRecord,
    sampled: Option<Live>,
) {
    let run = Run(record.run);
    let key = key.clone();
    let rss_bytes = sampled.as_ref().and_then(|live| live.rss_bytes);
    if let Some(report) = record.exit.clone() {
        if let Some(lock) = lock {
            lock.remove();
        }
        let exit = SlotExit::new(report, rss_bytes);
        tell(around, SupervisorEvent::Exited { key, run, exit }).await;
        return;
    }
    tracing::warn!(
        instance = %key.instance,
        "a shim was lost, sweeping what it started (version_id: {})",
        key.instance
    );
    let lost = SupervisorEvent::ShimLost {
        key: key.clone(),
        run,
    };
    tell(around, lost).await;
    let recorded: Vec<Identity> = sampled.map(|live| live.sampled).unwrap_or_default();
    let Swept { killed, survivors } = blocking(move || sweep_after(lock, &record, recorded))
        .await
        .unwrap_or_default();
    tracing::info!(instance = %key.instance, killed, "swept after a lost shim (version_id: {})", key.instance);
    outlast(&key, &survivors).await;
    let exit = SlotExit::unreported(ExitCause::ShimLost, rss_bytes, survivors);
    tell(around, SupervisorEvent::Exited { key, run, exit }).await;
}

/// Waits for processes that even SIGKILL did not end in time: they sleep in the kernel, and the slot is not free before they
/// are gone.
pub(crate) async fn outlast(key: &SlotKey, survivors: &[u32]) {
    let pids = survivors.iter().filter_map(|pid| i32::try_from(*pid).ok());
    let mut left: Vec<Identity> = pids.filter_map(Identity::of).collect();
    left.retain(|one| one.alive());
    if left.is_empty() {
        return;
    }
    tracing::error!(
        instance = %key.instance,
        reason = ?survivors,
        "processes outlived SIGKILL: the slot waits for them (version_id: {})",
        key.instance
    );
    while !left.is_empty() {
        tokio::time::sleep(OUTLAST_LOOK).await;
        left.retain(|one| one.alive());
    }
}

/// Kills what a dead shim had started, and removes its files.
pub(crate) fn sweep_after(
    lock: Option<SlotLock>,
    record: &SlotRecord,
    mut recorded: Vec<Identity>,
) -> Swept {
    recorded.extend(record.child);
    let target = Target {
        shim: None,
        marker: &record.marker,
        cgroup: record.cgroup.as_deref(),
        recorded: &recorded,
    };
    let swept = sweep(&target, SWEEP_WITHIN);
    if let Some(cgroup) = &record.cgroup {
        cgroup::remove(cgroup);
    }
    for path in [&record.control_path, &record.socket_path] {
        let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
        if is_socket {
            let _gone_already = fs::remove_file(path);
        }
    }
    if let Some(lock) = lock {
        lock.remove();
    }
    swept
}

/// Sends an event; waits while the driver is behind.
pub(crate) async fn tell(around: &Surroundings, event: SupervisorEvent) {
    // The driver goes away only when the router does.
    let _driver_gone = around.events.send(event).await;
}

/// Answers a kill of a run that is not there.
pub(crate) async fn tell_never_lived(around: &Surroundings, key: SlotKey, run: Run) {
    let exit = SlotExit::unreported(ExitCause::NeverLived, None, Vec::new());
    tell(around, SupervisorEvent::Exited { key, run, exit }).await;
}

/// Runs file work off the threads that serve requests. `None` when the runtime is shutting down.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

fn key_of_ours(around: &Surroundings, record: &SlotRecord) -> Option<SlotKey> {
    if record.router_id != around.config.router_id {
        tracing::debug!(instance = %record.instance, reason = "another router's", "a slot was passed over");
        return None;
    }
    let instance = InstanceId::parse(&record.instance).ok()?;
    Some(SlotKey {
        instance,
        slot: record.slot,
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

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use router_core::{InstanceId, SlotKey};

    use super::outlast;

    #[tokio::test]
    async fn a_slot_waits_for_processes_that_outlived_their_kill() {
        let key = SlotKey::first(InstanceId::parse("demo").unwrap());
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let survivors = [child.id()];
        let waiting = outlast(&key, &survivors);
        tokio::pin!(waiting);
        let early = tokio::time::timeout(Duration::from_millis(50), waiting.as_mut()).await;
        assert!(early.is_err(), "it is alive");
        child.kill().unwrap();
        child.wait().unwrap();
        let late = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        assert!(late.is_ok(), "it is gone");
    }
}
