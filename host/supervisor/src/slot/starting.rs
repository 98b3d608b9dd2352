//! The beginning of a run: a shim is started, sent what to run, and waited for until the command runs.

use std::path::{Path, PathBuf};

use godot_mcp_shim::{paths::SlotPaths, protocol::ToShim, record::LockState, wire::PassedFds};
use router_core::Run;

use super::{
    AfterRun, SlotTask,
    held::{HeldShim, HelloAnswer, StartError, hello, sort_passed, try_to_hold},
};
use crate::{
    LaunchSpec, SupervisorEvent, control::Control, data_dir::random_hex, launch::LaunchFrame,
    shim_process::ShimProcess, slot_lock,
};

/// A run whose command was executed.
struct StartedRun {
    held: HeldShim,
    pid: u32,
    passed: PassedFds,
    socket_path: PathBuf,
}

impl SlotTask {
    /// One run from launch to end.
    pub(super) async fn launch(&self, run: Run, spec: LaunchSpec) -> AfterRun {
        let transport = spec.transport;
        let StartedRun {
            held,
            pid,
            passed,
            socket_path,
        } = match self.start(run, spec).await {
            Ok(started) => started,
            Err(error) => {
                self.spawn_failed(run, error.to_string()).await;
                return AfterRun::Free;
            }
        };
        let Some((io, _)) = sort_passed(transport, passed, socket_path) else {
            return self.abort(held, "the shim passed no descriptors").await;
        };
        tracing::info!(
            instance = %self.key().instance, slot = self.key().slot, run = run.0, pid, state = "started",
            "instance process started"
        );
        let key = self.key().clone();
        self.context
            .emit(SupervisorEvent::Started { key, run, pid, io })
            .await;
        self.hold(held).await
    }

    async fn start(&self, run: Run, spec: LaunchSpec) -> Result<StartedRun, StartError> {
        if self.stop_requested(run) {
            return Err(StartError::Stopped);
        }
        let key = self.key();
        let paths = SlotPaths::new(
            &self.context.config.socket_dir,
            key.instance.as_str(),
            key.slot,
            spec.transport,
        )?;
        self.clear_stray(&paths.lock).await?;
        let message = spec.into_message(LaunchFrame {
            context: &self.context,
            key,
            run,
            marker: random_hex(16).map_err(StartError::Shim)?,
            paths: paths.clone(),
        });
        let (shim, stream) =
            ShimProcess::start(&self.context, key.instance.as_str()).map_err(StartError::Shim)?;
        let mut held = HeldShim {
            run,
            control: Control::new(stream).map_err(StartError::Shim)?,
            shim,
            control_path: paths.control,
            lock_path: paths.lock,
            record: None,
        };
        let launch = ToShim::Launch(Box::new(message));
        match held.begin(hello(&self.context), launch).await {
            Ok((pid, passed)) => {
                held.record = slot_lock::held_record(&held.lock_path).await;
                Ok(StartedRun {
                    held,
                    pid,
                    passed,
                    socket_path: paths.socket,
                })
            }
            Err(StartError::Refused(reason)) => {
                let _gone = held.control.send(&ToShim::ExitSeen, Vec::new()).await;
                held.shim.wait_or_kill().await;
                Err(StartError::Refused(reason))
            }
            Err(error) => {
                held.shim.kill().await;
                self.settle_unreported(&held.lock_path).await;
                Err(error)
            }
        }
    }

    /// Before a launch: a shim that holds the lock in this router's name is a stray that adoption did not reach, unless another
    /// living router of the same name holds it.
    async fn clear_stray(&self, lock_path: &Path) -> Result<(), StartError> {
        match slot_lock::inspect(lock_path)
            .await
            .ok_or(StartError::ShuttingDown)??
        {
            LockState::Held(Some(record)) if record.router_id == self.context.config.router_id => {
                if let HelloAnswer::Busy { router_id, pid } =
                    try_to_hold(&self.context, &record.control_path).await
                {
                    return Err(StartError::HeldElsewhere { router_id, pid });
                }
                if let Ok(mut shim) = ShimProcess::found(record.shim) {
                    shim.kill().await;
                }
                tracing::warn!(instance = %self.key().instance, "stray shim of this slot killed");
                self.settle_unreported(lock_path).await;
                Ok(())
            }
            LockState::Held(Some(record)) => Err(StartError::Foreign {
                shim: record.shim.pid,
                router_id: record.router_id,
            }),
            // The next shim clears what a dead one left, and waits for one that is just beginning or ending.
            LockState::Held(None) | LockState::Taken(..) | LockState::Absent => Ok(()),
        }
    }

    fn stop_requested(&self, run: Run) -> bool {
        let requests = self.cell.requests.lock();
        requests.kill == Some(run) || requests.stop.is_some_and(|(stopped, _)| stopped == run)
    }
}
