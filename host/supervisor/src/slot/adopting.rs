//! Taking over a shim that an earlier life of the router started.

use std::io;

use godot_mcp_shim::protocol::SlotState;
use router_core::Run;
use tokio::{sync::oneshot, time::Instant};

use super::{
    AfterRun, FoundShim, SlotTask,
    held::{ATTEMPT_INTERVAL, Grant, HOLD_WITHIN, HeldShim, HelloAnswer, sort_passed, try_to_hold},
};
use crate::{Adoption, SupervisorEvent, blob, shim_process::ShimProcess};

impl SlotTask {
    /// Adopts a found shim, and stays with its run. `done` gets whether it was adopted.
    pub(super) async fn adopt(&self, found: FoundShim, done: oneshot::Sender<bool>) -> AfterRun {
        let deadline = Instant::now() + HOLD_WITHIN;
        loop {
            let answer = try_to_hold(&self.context, &found.record.control_path).await;
            let is_last = Instant::now() >= deadline;
            match answer {
                HelloAnswer::Granted(grant) => return self.adopted(found, done, *grant).await,
                HelloAnswer::Busy { router_id, pid } if is_last => {
                    let key = self.key().clone();
                    self.context
                        .emit(SupervisorEvent::HeldElsewhere {
                            key,
                            router_id,
                            pid,
                        })
                        .await;
                    return AfterRun::Free;
                }
                HelloAnswer::Failed(_) if !found.record.shim.alive() => {
                    self.settle(&found.lock_path, None).await;
                    return AfterRun::Free;
                }
                HelloAnswer::Failed(error) if is_last => {
                    self.give_up(&found, &error).await;
                    return AfterRun::Free;
                }
                HelloAnswer::Busy { .. } | HelloAnswer::Failed(_) => {}
            }
            // Its process is gone within moments, or is not: it is not our child, so there is nothing to wait on.
            tokio::time::sleep(ATTEMPT_INTERVAL).await;
        }
    }

    async fn adopted(
        &self,
        found: FoundShim,
        done: oneshot::Sender<bool>,
        grant: Grant,
    ) -> AfterRun {
        let record = found.record;
        let run = Run(record.run);
        let Ok(shim) = ShimProcess::found(record.shim) else {
            // It died between its answer and now.
            self.settle(&found.lock_path, None).await;
            return AfterRun::Free;
        };
        let mut held = HeldShim {
            run,
            control: grant.control,
            shim,
            control_path: record.control_path.clone(),
            lock_path: found.lock_path,
            record: Some(record.clone()),
        };
        let (pid, passed) = match grant.state {
            SlotState::Starting => match held.started().await {
                Ok(started) => started,
                Err(error) => return self.abort(held, &error.to_string()).await,
            },
            _ => (grant.pid.unwrap_or(0), grant.passed),
        };
        let is_stopping = grant.state == SlotState::Stopping;
        let (io, blob) = match sort_passed(record.transport, passed, record.socket_path) {
            Some((io, blob)) => (Some(io), blob),
            None if is_stopping => (None, None),
            None => return self.abort(held, "the shim passed no descriptors").await,
        };
        tracing::info!(
            instance = %self.key().instance, slot = self.key().slot, run = run.0, pid, state = "adopted",
            "instance process adopted"
        );
        let adoption = Adoption {
            pid,
            io: io.filter(|_| !is_stopping),
            blob: blob.and_then(|fd| blob::from_fd(fd).ok()),
            spec_digest: record.spec_digest,
            started_at_ms: record.started_at_ms,
        };
        let key = self.key().clone();
        self.context
            .emit(SupervisorEvent::Adopted { key, run, adoption })
            .await;
        let _router_ends = done.send(true);
        self.hold(held).await
    }

    /// Ends a shim of ours that was found before but could not be adopted.
    async fn give_up(&self, found: &FoundShim, error: &io::Error) {
        tracing::error!(
            instance = %self.key().instance, error = %error,
            "shim killed because it does not answer"
        );
        if let Ok(mut shim) = ShimProcess::found(found.record.shim) {
            shim.kill().await;
        }
        self.settle(&found.lock_path, None).await;
    }
}
