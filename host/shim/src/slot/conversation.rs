//! What a router says to a running slot, and what it is answered.

use std::{fs::File, os::fd::OwnedFd, time::Duration};

use godot_mcp_shim::{
    protocol::{BLOB_BYTES_MAX, ExitCause, FromShim, Hello, Passed, SlotState, ToShim, Welcome},
    wire::PassedFds,
};

use super::{Phase, Slot};
use crate::peers::Greeting;

impl Slot {
    pub(super) fn heed(&mut self, key: u64, message: ToShim, passed: PassedFds) {
        if !self.peers.holds(key) && !matches!(message, ToShim::Hello(_)) {
            let reason = "say hello first".to_owned();
            self.peers.dismiss(key, &FromShim::Refused { reason });
            return;
        }
        match message {
            ToShim::Hello(hello) => self.greet(key, &hello),
            ToShim::Stop { grace_ms } => {
                self.stop(ExitCause::Stopped, Duration::from_millis(grace_ms));
            }
            ToShim::Kill => self.kill(ExitCause::Killed),
            ToShim::Blob => self.keep_blob(key, passed),
            ToShim::Release => self.peers.release(),
            ToShim::ExitSeen => {
                if matches!(self.phase, Phase::Reported { .. }) {
                    self.phase = Phase::Over;
                    if let Some(lock) = self.lock.take() {
                        lock.remove();
                    }
                }
            }
            ToShim::Launch(_) => {
                let reason = "this shim runs its instance already".to_owned();
                self.peers
                    .say(key, &FromShim::Refused { reason }, Vec::new());
            }
            ToShim::Unknown => self.peers.say(key, &FromShim::Unsupported, Vec::new()),
        }
    }

    pub(super) fn greet(&mut self, key: u64, hello: &Hello) {
        let protocol = match self.peers.greet(key, hello) {
            Greeting::Granted(protocol) => protocol,
            Greeting::Denied(answer) => {
                self.peers.dismiss(key, &answer);
                return;
            }
        };
        let state = match self.phase {
            Phase::Starting => SlotState::Starting,
            Phase::Running => SlotState::Running,
            _ => SlotState::Stopping,
        };
        let passed = if state == SlotState::Running {
            self.descriptors()
        } else {
            Vec::new()
        };
        let welcome = FromShim::Welcome(Welcome {
            protocol,
            shim_version: env!("CARGO_PKG_VERSION").to_owned(),
            state,
            pid: Some(self.pid.unsigned_abs()),
        });
        self.peers.say(key, &welcome, passed);
        if let Some(report) = self.record.exit.clone() {
            self.peers.say(key, &FromShim::Exited(report), Vec::new());
        }
        if hello.router_id != self.record.router_id {
            self.record.router_id.clone_from(&hello.router_id);
            self.write_record();
        }
    }

    /// Duplicates of what the holder works with; ours stay open.
    pub(super) fn descriptors(&self) -> PassedFds {
        let kept = [
            (Passed::Stdin, &self.stdin),
            (Passed::Stdout, &self.stdout),
            (Passed::Blob, &self.blob),
        ];
        let duplicate = |(passed, fd): (Passed, &Option<OwnedFd>)| {
            Some((passed, fd.as_ref()?.try_clone().ok()?))
        };
        kept.into_iter().filter_map(duplicate).collect()
    }

    fn keep_blob(&mut self, key: u64, passed: PassedFds) {
        let blob = passed
            .into_iter()
            .find(|(kind, _)| *kind == Passed::Blob)
            .map(|(_, fd)| File::from(fd));
        let fits = |file: &File| {
            file.metadata()
                .is_ok_and(|meta| meta.len() <= BLOB_BYTES_MAX)
        };
        match blob.filter(fits) {
            Some(file) => self.blob = Some(file.into()),
            None => {
                let reason =
                    format!("no blob was passed, or one of more than {BLOB_BYTES_MAX} bytes");
                self.peers
                    .say(key, &FromShim::Refused { reason }, Vec::new());
            }
        }
    }
}
