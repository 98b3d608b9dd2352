//! What every part of the supervisor is given: its configuration, what was found out at its start, and where events go.

use std::{fs::File, path::PathBuf};

use router_core::{Run, SlotKey};
use tokio::sync::mpsc;

use crate::{ExitCause, SlotExit, SupervisorConfig, SupervisorEvent};

/// See the module.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: SupervisorConfig,
    /// The shim binary as it was when the router started: a replaced or removed file does not matter.
    pub(crate) shim: File,
    pub(crate) cgroup_parent: Option<PathBuf>,
    pub(crate) working_dir: PathBuf,
    pub(crate) events: mpsc::Sender<SupervisorEvent>,
}

impl Context {
    /// Sends an event; waits while the driver is behind.
    pub(crate) async fn emit(&self, event: SupervisorEvent) {
        // The receiver is dropped only when the router ends.
        let _router_ends = self.events.send(event).await;
    }

    /// Answers a kill of a run that does not exist.
    pub(crate) async fn emit_never_lived(&self, key: SlotKey, run: Run) {
        let exit = SlotExit::unreported(ExitCause::NeverLived, None, Vec::new());
        self.emit(SupervisorEvent::Exited { key, run, exit }).await;
    }
}

/// Runs file work off the threads that serve requests. `None` when the runtime is shutting down.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
