//! What follows the death of a shim: its report is passed on, or what it had started is killed and its files are removed.

use std::{fs, os::unix::fs::FileTypeExt as _, time::Duration};

use godot_mcp_shim::{
    cgroup,
    record::{SlotLock, SlotRecord},
    tree::{Identity, SweepTarget, Swept, sweep},
};
use router_core::{Run, SlotKey};

use crate::{
    ExitCause, SlotExit, SupervisorEvent,
    cells::RunningTree,
    context::{Context, blocking},
};

/// How long a sweep may take; longer means uninterruptible sleep.
const SWEEP_WITHIN: Duration = Duration::from_secs(10);

/// How often processes that wait in the kernel are checked: it takes as long as a disk or a network file system takes.
const SURVIVOR_INTERVAL: Duration = Duration::from_millis(500);

/// Reports how a run ended whose shim is gone, or sweeps after it. The lock is ours meanwhile, so that no new shim begins before this
/// is over; there is none where the file was removed.
pub(crate) async fn report_or_sweep(
    context: &Context,
    key: &SlotKey,
    lock: Option<SlotLock>,
    record: SlotRecord,
    tree: Option<RunningTree>,
) {
    let run = Run(record.run);
    let key = key.clone();
    let rss_bytes = tree.as_ref().and_then(|tree| tree.rss_bytes);
    if let Some(report) = record.exit.clone() {
        if let Some(lock) = lock {
            lock.remove();
        }
        let exit = SlotExit::new(report, rss_bytes);
        context
            .emit(SupervisorEvent::Exited { key, run, exit })
            .await;
        return;
    }
    tracing::warn!(
        instance = %key.instance,
        "shim lost"
    );
    let lost = SupervisorEvent::ShimLost {
        key: key.clone(),
        run,
    };
    context.emit(lost).await;
    let recorded: Vec<Identity> = tree.map(|tree| tree.sampled).unwrap_or_default();
    let Swept { killed, survivors } = blocking(move || sweep_dead_shim(lock, &record, recorded))
        .await
        .unwrap_or_default();
    tracing::info!(instance = %key.instance, killed, "processes of the lost shim killed");
    wait_for_survivors(&key, &survivors).await;
    let exit = SlotExit::unreported(ExitCause::ShimLost, rss_bytes, survivors);
    context
        .emit(SupervisorEvent::Exited { key, run, exit })
        .await;
}

/// Waits for processes that even SIGKILL did not end in time: they sleep in the kernel, and the slot is not free before they
/// are gone.
pub(crate) async fn wait_for_survivors(key: &SlotKey, survivors: &[u32]) {
    let pids = survivors.iter().filter_map(|pid| i32::try_from(*pid).ok());
    let mut left: Vec<Identity> = pids.filter_map(Identity::of).collect();
    left.retain(|one| one.alive());
    if left.is_empty() {
        return;
    }
    tracing::error!(
        instance = %key.instance,
        reason = ?survivors,
        "processes outlived SIGKILL: the slot waits for them"
    );
    while !left.is_empty() {
        tokio::time::sleep(SURVIVOR_INTERVAL).await;
        left.retain(|one| one.alive());
    }
}

/// Kills what a dead shim had started, and removes its files. Blocks for at most [`SWEEP_WITHIN`].
pub(crate) fn sweep_dead_shim(
    lock: Option<SlotLock>,
    record: &SlotRecord,
    mut recorded: Vec<Identity>,
) -> Swept {
    recorded.extend(record.child);
    let target = SweepTarget {
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use router_core::{InstanceId, SlotKey};

    use super::{SURVIVOR_INTERVAL, wait_for_survivors};

    /// The clock is paused: it goes on by itself whenever there is nothing but timers to wait for.
    #[tokio::test(start_paused = true)]
    async fn a_slot_waits_for_processes_that_outlived_their_kill() {
        let key = SlotKey::first(InstanceId::parse("demo").unwrap());
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let survivors = [child.id()];
        let waiting = wait_for_survivors(&key, &survivors);
        tokio::pin!(waiting);
        let early = tokio::time::timeout(100 * SURVIVOR_INTERVAL, waiting.as_mut()).await;
        assert!(early.is_err(), "it is alive");
        child.kill().unwrap();
        child.wait().unwrap();
        let late = tokio::time::timeout(2 * SURVIVOR_INTERVAL, waiting).await;
        assert!(late.is_ok(), "it is gone");
    }
}
