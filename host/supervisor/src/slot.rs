//! The task of one slot in use: its shim is started or adopted, then held until its run has ended or was released.

mod adopting;
mod held;
mod holding;
mod starting;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use godot_mcp_shim::record::SlotRecord;
use router_core::{Run, SlotKey};
use tokio::sync::oneshot;

use crate::{
    SupervisorEvent,
    cells::{RunningTree, SlotCell, SlotCells},
    context::{Context, blocking},
    slot_lock,
    sweep::{report_or_sweep, sweep_dead_shim},
};

/// What a slot's task begins with.
#[derive(Debug)]
pub(crate) enum SlotStart {
    /// A launch was requested.
    Launch,
    /// A shim was found; the channel gets whether it was adopted.
    Adopt(Box<FoundShim>, oneshot::Sender<bool>),
}

/// A slot of this router's name whose shim is alive.
#[derive(Debug)]
pub(crate) struct FoundShim {
    pub(crate) key: SlotKey,
    pub(crate) lock_path: PathBuf,
    pub(crate) record: SlotRecord,
}

/// Whether the slot is still this router's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterRun {
    /// The run is over, and the slot is free.
    Free,
    /// The run goes on without this router.
    Released,
}

/// The task of one slot.
#[derive(Debug)]
pub(crate) struct SlotTask {
    context: Arc<Context>,
    cells: Arc<SlotCells>,
    cell: Arc<SlotCell>,
}

impl SlotTask {
    pub(crate) fn new(context: Arc<Context>, cells: Arc<SlotCells>, cell: Arc<SlotCell>) -> Self {
        Self {
            context,
            cells,
            cell,
        }
    }

    /// Serves the slot until nothing is requested of it.
    pub(crate) async fn run(self, start: SlotStart) {
        let mut after = match start {
            SlotStart::Launch => AfterRun::Free,
            SlotStart::Adopt(found, done) => self.adopt(*found, done).await,
        };
        while after == AfterRun::Free {
            let (launch, kill) = {
                let mut requests = self.cell.requests.lock();
                let launch = requests.launch.take();
                // A kill of the run about to be launched stops the launch, and is answered by the next pass of this loop.
                let kill = requests
                    .kill
                    .take_if(|run| launch.as_ref().is_none_or(|(launched, _)| launched != run));
                (launch, kill)
            };
            if let Some(run) = kill {
                self.context.emit_never_lived(self.key().clone(), run).await;
            }
            after = match launch {
                Some((run, spec)) => self.launch(run, spec).await,
                None if self.cells.retire(&self.cell) => return,
                None => AfterRun::Free,
            };
        }
        self.cells.remove(&self.cell);
    }

    /// Takes the lock of a shim that is dead, reports what became of its run, and cleans up. `false` when the lock file
    /// names no run.
    async fn settle(&self, lock_path: &Path, tree: Option<RunningTree>) -> bool {
        match slot_lock::take_from_dead(lock_path).await {
            Some((lock, Some(record))) => {
                report_or_sweep(&self.context, self.key(), Some(lock), record, tree).await;
                true
            }
            Some((lock, None)) => {
                lock.remove();
                false
            }
            None => false,
        }
    }

    /// Cleans up after a run that was never reported to the driver.
    async fn settle_unreported(&self, lock_path: &Path) {
        if let Some((lock, record)) = slot_lock::take_from_dead(lock_path).await {
            let clear = move || match record {
                Some(record) => drop(sweep_dead_shim(Some(lock), &record, Vec::new())),
                None => lock.remove(),
            };
            let _shutting_down = blocking(clear).await;
        }
    }

    async fn spawn_failed(&self, run: Run, error: String) {
        let key = self.key().clone();
        self.context
            .emit(SupervisorEvent::SpawnFailed { key, run, error })
            .await;
    }

    fn key(&self) -> &SlotKey {
        &self.cell.key
    }
}
