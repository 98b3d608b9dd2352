//! The messages of routers to a running slot, and the answers.

use std::{fs::File, os::fd::OwnedFd, time::Duration};

use godot_mcp_shim::{
    protocol::{BLOB_BYTES_MAX, ExitCause, FdKind, FromShim, Hello, SlotState, ToShim, Welcome},
    wire::PassedFds,
};
use rustix::event::PollFlags;

use super::{RunPhase, SlotServer};
use crate::peers::HelloDecision;

impl SlotServer {
    pub(super) fn handle_peer(&mut self, key: u64, flags: PollFlags) {
        if flags.contains(PollFlags::OUT) {
            self.peers.flush(key);
        }
        if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            let (messages, goes_on) = self.peers.read(key);
            for (message, passed) in messages {
                self.handle_message(key, message, passed);
            }
            if !goes_on {
                self.peers.drop_peer(key);
            }
        }
    }

    fn handle_message(&mut self, key: u64, message: ToShim, passed: PassedFds) {
        if !self.peers.is_holder(key) && !matches!(message, ToShim::Hello(_)) {
            let reason = "say hello first".to_owned();
            self.peers
                .send_and_close(key, &FromShim::Refused { reason });
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
                if matches!(self.phase, RunPhase::Reported { .. }) {
                    self.phase = RunPhase::Over;
                    if let Some(lock) = self.lock.take() {
                        lock.remove();
                    }
                }
            }
            ToShim::Launch(_) => {
                let reason = "this shim runs its instance already".to_owned();
                self.peers
                    .send(key, &FromShim::Refused { reason }, Vec::new());
            }
            ToShim::Unknown => self.peers.send(key, &FromShim::Unsupported, Vec::new()),
        }
    }

    pub(super) fn greet(&mut self, key: u64, hello: &Hello) {
        let protocol = match self.peers.admit(key, hello) {
            HelloDecision::Granted(protocol) => protocol,
            HelloDecision::Denied(answer) => {
                self.peers.send_and_close(key, &answer);
                return;
            }
        };
        let state = match self.phase {
            RunPhase::Starting => SlotState::Starting,
            RunPhase::Running => SlotState::Running,
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
        self.peers.send(key, &welcome, passed);
        if let Some(report) = self.record.exit.clone() {
            self.peers.send(key, &FromShim::Exited(report), Vec::new());
        }
        if hello.router_id != self.record.router_id {
            self.record.router_id.clone_from(&hello.router_id);
            self.write_record();
        }
    }

    /// Duplicates of what the holder works with; ours stay open.
    pub(super) fn descriptors(&self) -> PassedFds {
        let kept = [
            (FdKind::Stdin, &self.stdin),
            (FdKind::Stdout, &self.stdout),
            (FdKind::Blob, &self.blob),
        ];
        let duplicate = |(passed, fd): (FdKind, &Option<OwnedFd>)| {
            Some((passed, fd.as_ref()?.try_clone().ok()?))
        };
        kept.into_iter().filter_map(duplicate).collect()
    }

    fn keep_blob(&mut self, key: u64, passed: PassedFds) {
        let blob = passed
            .into_iter()
            .find(|(kind, _)| *kind == FdKind::Blob)
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
                    .send(key, &FromShim::Refused { reason }, Vec::new());
            }
        }
    }
}
