//! One task per slot in use: started by a launch or an adoption, ended when nothing is requested of the slot any more.

use std::sync::Arc;

use router_core::{Run, SlotKey};
use tokio::{runtime::Handle, sync::oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    LaunchSpec, SupervisorEvent,
    cells::{SlotCell, SlotCells},
    context::Context,
    slot::{FoundShim, SlotStart, SlotTask},
};

/// The slots in use and their tasks.
#[derive(Debug)]
pub(crate) struct Slots {
    context: Arc<Context>,
    cells: Arc<SlotCells>,
    tasks: TaskTracker,
    runtime: Handle,
    abandoned: CancellationToken,
}

impl Slots {
    pub(crate) fn new(
        context: Arc<Context>,
        cells: Arc<SlotCells>,
        tasks: TaskTracker,
        runtime: Handle,
    ) -> Self {
        Self {
            context,
            cells,
            tasks,
            runtime,
            abandoned: CancellationToken::new(),
        }
    }

    pub(crate) fn launch(&self, key: SlotKey, run: Run, spec: LaunchSpec) {
        let (replaced, new) = self.cells.request_launch(&key, run, spec);
        if let Some(cell) = new {
            self.spawn(cell, SlotStart::Launch);
        }
        if let Some(former) = replaced {
            // The driver asks for one run at a time; this keeps it consistent if it ever does not.
            let _full = self.context.events.try_send(SupervisorEvent::SpawnFailed {
                key,
                run: former,
                error: format!("run {run} was asked for instead"),
            });
        }
    }

    /// Starts the task of a slot whose shim was found. `done` receives whether it was adopted; it is dropped where the slot is in use.
    pub(crate) fn adopt(&self, found: FoundShim, done: oneshot::Sender<bool>) {
        if let Some(cell) = self.cells.insert(&found.key) {
            self.spawn(cell, SlotStart::Adopt(Box::new(found), done));
        }
    }

    /// Ends every task where it is; their instances run on.
    pub(crate) fn abandon(&self) {
        self.abandoned.cancel();
    }

    fn spawn(&self, cell: Arc<SlotCell>, start: SlotStart) {
        let slot = SlotTask::new(Arc::clone(&self.context), Arc::clone(&self.cells), cell);
        let abandoned = self.abandoned.clone();
        let task = async move {
            tokio::select! {
                () = slot.run(start) => {}
                () = abandoned.cancelled() => {}
            }
        };
        self.tasks.spawn_on(task, &self.runtime);
    }
}
