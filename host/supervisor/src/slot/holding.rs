//! The time with a held shim: it is listened to and sent what is requested, until its run has ended, it was lost or released.

use std::time::Duration;

use godot_mcp_shim::{
    protocol::{ExitReport, FdKind, FromShim, ToShim},
    wire::PassedFds,
};
use router_core::Run;
use router_values::whole_ms;
use tokio::time::Instant;

use super::{
    AfterRun, SlotTask,
    held::{ATTEMPT_INTERVAL, HOLD_WITHIN, HeldShim, HelloAnswer, try_to_hold},
};
use crate::{
    SlotExit, SupervisorEvent, blob,
    cells::{ReleaseRequest, RunningTree, SlotRequests},
    slot_lock,
    sweep::{report_or_sweep, wait_for_survivors},
};

/// How long after the end of its connection a shim is still taken to be dying rather than disconnected.
const DYING_WITHIN: Duration = Duration::from_millis(500);

/// How the time with a shim ended.
#[derive(Debug)]
enum HoldEnd {
    Exited(ExitReport),
    Lost,
    Released,
}

impl SlotTask {
    /// Stays with a held shim until its run has ended or was released.
    pub(super) async fn hold(&self, mut held: HeldShim) -> AfterRun {
        *self.cell.tree.lock() = Some(RunningTree {
            run: held.run,
            shim: held.shim.identity,
            sampled: Vec::new(),
            rss_bytes: None,
            dying: false,
        });
        let end = self.listen(&mut held).await;
        let tree = self.cell.tree.lock().take();
        match end {
            HoldEnd::Released => AfterRun::Released,
            HoldEnd::Exited(report) => self.finish(held, report, tree).await,
            HoldEnd::Lost => {
                self.settle_lost(held, tree).await;
                AfterRun::Free
            }
        }
    }

    /// After the exit report: acknowledges it, waits until the slot is free, and reports the exit.
    async fn finish(
        &self,
        mut held: HeldShim,
        report: ExitReport,
        tree: Option<RunningTree>,
    ) -> AfterRun {
        // Without an acknowledgement the report stays in the lock file, and would be reported twice.
        let _gone = held.control.send(&ToShim::ExitSeen, Vec::new()).await;
        held.shim.wait_or_kill().await;
        self.remove_lock_of(&held).await;
        let exit = SlotExit::new(report, tree.and_then(|tree| tree.rss_bytes));
        tokio::select! {
            () = wait_for_survivors(self.key(), &exit.survivors) => {}
            () = self.release_requested() => return AfterRun::Released,
        }
        tracing::info!(
            instance = %self.key().instance, slot = self.key().slot, run = held.run.0, state = "exited",
            reason = ?exit.exit, "instance process exited"
        );
        let (key, run) = (self.key().clone(), held.run);
        self.context
            .emit(SupervisorEvent::Exited { key, run, exit })
            .await;
        AfterRun::Free
    }

    /// Waits until the router releases the slot. Other requests wait until the slot is free.
    async fn release_requested(&self) {
        while self.cell.requests.lock().release.is_none() {
            self.cell.wake.notified().await;
        }
    }

    /// A shim that was killed between its report and the acknowledgement has left its lock file behind.
    async fn remove_lock_of(&self, held: &HeldShim) {
        let lock = slot_lock::take_from_dead(&held.lock_path).await;
        if let Some((lock, record)) = lock
            && record.is_none_or(|record| {
                record.run == held.run.0 && record.router_id == self.context.config.router_id
            })
        {
            lock.remove();
        }
    }

    /// After the loss of a shim: reports or sweeps, by its lock file or, where that was removed, by what was read of it.
    async fn settle_lost(&self, mut held: HeldShim, tree: Option<RunningTree>) {
        held.shim.kill().await;
        if self.settle(&held.lock_path, tree.clone()).await {
            return;
        }
        if let Some(record) = held.record {
            report_or_sweep(&self.context, self.key(), None, record, tree).await;
        }
    }

    /// Kills a shim that we hold and cannot use.
    pub(super) async fn abort(&self, mut held: HeldShim, reason: &str) -> AfterRun {
        held.shim.kill().await;
        self.settle_unreported(&held.lock_path).await;
        self.spawn_failed(held.run, reason.to_owned()).await;
        AfterRun::Free
    }

    async fn listen(&self, held: &mut HeldShim) -> HoldEnd {
        loop {
            tokio::select! {
                biased;
                received = held.control.receive() => match received {
                    Ok(Some((FromShim::Exited(report), _))) => return HoldEnd::Exited(report),
                    Ok(Some((FromShim::Refused { reason }, _))) => {
                        tracing::warn!(instance = %self.key().instance, reason, "request refused by the shim");
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => {
                        if let Some(end) = self.reconnect(held).await {
                            return end;
                        }
                    }
                },
                () = self.cell.wake.notified() => {
                    if let Some(end) = self.serve_requests(held).await {
                        return end;
                    }
                }
            }
        }
    }

    /// Sends the shim what is requested of a running slot.
    async fn serve_requests(&self, held: &mut HeldShim) -> Option<HoldEnd> {
        let mut requests = std::mem::take(&mut *self.cell.requests.lock());
        if let Some((run, _)) = requests.launch.take() {
            self.spawn_failed(run, format!("run {} of the slot has not ended", held.run))
                .await;
        }
        if let Some(run) = requests.kill.filter(|run| *run != held.run) {
            self.context.emit_never_lived(self.key().clone(), run).await;
        }
        let is_released = match requests.release {
            Some(ReleaseRequest::Any) => true,
            Some(ReleaseRequest::Run(run)) => run == held.run,
            None => false,
        };
        for (message, passed) in self.messages(requests, held.run, is_released) {
            // Without a duplicate, for want of descriptors, the blob is refused and the one before stays.
            let duplicates = passed
                .iter()
                .filter_map(|(kind, fd)| Some((*kind, fd.try_clone().ok()?)))
                .collect();
            if held.control.send(&message, passed).await.is_err() {
                // A request that did not reach a shim which lives on is sent again after the reconnection.
                let end = self.reconnect(held).await;
                if end.is_some() {
                    return end;
                }
                let _lost_again = held.control.send(&message, duplicates).await;
            }
        }
        is_released.then_some(HoldEnd::Released)
    }

    /// The messages for what is requested of a run, in the order in which the shim is to act on them.
    fn messages(
        &self,
        requests: SlotRequests,
        run: Run,
        is_released: bool,
    ) -> Vec<(ToShim, PassedFds)> {
        let mut messages: Vec<(ToShim, PassedFds)> = Vec::new();
        if let Some((_, bytes)) = requests.blob.filter(|(of, _)| *of == run) {
            match blob::to_fd(&bytes) {
                Ok(fd) => messages.push((ToShim::Blob, vec![(FdKind::Blob, fd)])),
                Err(error) => {
                    tracing::warn!(instance = %self.key().instance, error = %error, "blob not kept");
                }
            }
        }
        if let Some((_, grace)) = requests.stop.filter(|(of, _)| *of == run) {
            let grace_ms = whole_ms(grace);
            messages.push((ToShim::Stop { grace_ms }, Vec::new()));
        }
        if requests.kill == Some(run) {
            if let Some(tree) = self.cell.tree.lock().as_mut() {
                tree.dying = true;
            }
            messages.push((ToShim::Kill, Vec::new()));
        }
        if is_released {
            messages.push((ToShim::Release, Vec::new()));
        }
        messages
    }

    /// After the end of a connection: either the shim is dying, or it is there to be connected to again.
    async fn reconnect(&self, held: &mut HeldShim) -> Option<HoldEnd> {
        if tokio::time::timeout(DYING_WITHIN, held.shim.gone())
            .await
            .is_ok()
        {
            return Some(HoldEnd::Lost);
        }
        let deadline = Instant::now() + HOLD_WITHIN;
        while Instant::now() < deadline {
            if let HelloAnswer::Granted(grant) =
                try_to_hold(&self.context, &held.control_path).await
            {
                held.control = grant.control;
                return None;
            }
            if tokio::time::timeout(ATTEMPT_INTERVAL, held.shim.gone())
                .await
                .is_ok()
            {
                break;
            }
        }
        Some(HoldEnd::Lost)
    }
}
