//! Taking over a shim that is there already: at the start of the router, or after its connection was lost.

use std::{io, path::Path, time::Duration};

use godot_mcp_shim::{
    protocol::{FromShim, SlotState, ToShim},
    wire::PassedFds,
};
use router_core::Run;
use tokio::{sync::oneshot, time::Instant};

use super::{Attendant, Held, TRY_AGAIN_AFTER, starting::io_of};
use crate::{
    Adoption, SupervisorEvent, adoption::Found, blob, control::Control, shim_process::ShimProcess,
};

/// How long an answer to a hello may take: one turn of the shim's loop, on a loaded machine.
const WELCOME_WITHIN: Duration = Duration::from_secs(2);

/// How long to go on trying for a slot whose holder is just dying, whose socket is just being bound again, or whose
/// shim is slow.
pub(super) const ADOPTED_WITHIN: Duration = Duration::from_secs(6);

/// What came of trying to hold a found shim.
#[derive(Debug)]
pub(super) enum Hold {
    Granted {
        control: Control,
        state: SlotState,
        pid: Option<u32>,
        passed: PassedFds,
    },
    Busy {
        router_id: String,
        pid: u32,
    },
    Failed(io::Error),
}

impl Attendant {
    /// Adopts a found shim. `true` when it was released afterwards.
    pub(super) async fn adopt(&self, found: Found, done: oneshot::Sender<bool>) -> bool {
        let deadline = Instant::now() + ADOPTED_WITHIN;
        loop {
            let outcome = self.try_to_hold(&found.record.control_path).await;
            let last_try = Instant::now() >= deadline;
            match outcome {
                Hold::Granted {
                    control,
                    state,
                    pid,
                    passed,
                } => {
                    return self
                        .adopted(found, done, control, (state, pid, passed))
                        .await;
                }
                Hold::Busy { router_id, pid } if last_try => {
                    let key = self.key().clone();
                    self.tell(SupervisorEvent::HeldElsewhere {
                        key,
                        router_id,
                        pid,
                    })
                    .await;
                    return false;
                }
                Hold::Failed(error) => {
                    if !found.record.shim.alive() {
                        self.settle(&found.lock_path, None).await;
                        return false;
                    }
                    if last_try {
                        return self.give_up(&found, &error).await;
                    }
                }
                Hold::Busy { .. } => {}
            }
            // Its process is gone within moments, or is not: there is nothing of it to wait on from here.
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
    }

    async fn adopted(
        &self,
        found: Found,
        done: oneshot::Sender<bool>,
        control: Control,
        (state, pid, passed): (SlotState, Option<u32>, PassedFds),
    ) -> bool {
        let record = found.record;
        let kept_record = Some(record.clone());
        let run = Run(record.run);
        let Ok(shim) = ShimProcess::found(record.shim) else {
            // It died between its answer and now.
            self.settle(&found.lock_path, None).await;
            return false;
        };
        let mut held = Held {
            run,
            control,
            shim,
            control_path: record.control_path,
            lock_path: found.lock_path,
            record: kept_record,
        };
        let (pid, passed) = match (state, pid) {
            (SlotState::Starting, _) => match held.started().await {
                Ok(started) => started,
                Err(error) => return self.abort(held, &error.to_string()).await,
            },
            (_, pid) => (pid.unwrap_or(0), passed),
        };
        let (io, blob) = match io_of(record.transport, passed, record.socket_path) {
            Some((io, blob)) => (Some(io), blob),
            None if state == SlotState::Stopping => (None, None),
            None => return self.abort(held, "the shim passed no descriptors").await,
        };
        tracing::info!(
            instance = %self.key().instance, slot = self.key().slot, run = run.0, pid, state = "adopted",
            "instance process adopted (version_id: {})", self.key().instance
        );
        let adoption = Adoption {
            pid,
            io: io.filter(|_| state != SlotState::Stopping),
            blob: blob.and_then(|fd| blob::from_fd(fd).ok()),
            spec_digest: record.spec_digest,
            started_at_ms: record.started_at_ms,
        };
        let key = self.key().clone();
        self.tell(SupervisorEvent::Adopted { key, run, adoption })
            .await;
        let _nobody_counts = done.send(true);
        self.hold(held).await
    }

    pub(super) async fn try_to_hold(&self, control_path: &Path) -> Hold {
        let attempt = async {
            let mut control = Control::connect(control_path).await?;
            control
                .send(&ToShim::Hello(self.hello()), Vec::new())
                .await?;
            match control.receive_within(WELCOME_WITHIN).await? {
                Some((FromShim::Welcome(welcome), passed)) => Ok(Hold::Granted {
                    control,
                    state: welcome.state,
                    pid: welcome.pid,
                    passed,
                }),
                Some((FromShim::Busy { router_id, pid }, _)) => Ok(Hold::Busy { router_id, pid }),
                Some((FromShim::Refused { reason }, _)) => Err(io::Error::other(reason)),
                Some(_) => Err(io::Error::other("an unexpected answer to a hello")),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        attempt.await.unwrap_or_else(Hold::Failed)
    }

    /// Ends a shim of ours that was found before but could not be adopted.
    async fn give_up(&self, found: &Found, error: &io::Error) -> bool {
        tracing::error!(
            instance = %self.key().instance, error = %error,
            "a shim does not answer and is killed (version_id: {})", self.key().instance
        );
        if let Ok(mut shim) = ShimProcess::found(found.record.shim) {
            shim.kill().await;
        }
        self.settle(&found.lock_path, None).await;
        false
    }
}
