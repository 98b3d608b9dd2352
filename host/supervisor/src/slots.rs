//! Which slots there are, and what the driver wants of each.
//!
//! A wish is a value, not a queued command: the newest of its kind replaces the one before, so nothing here can grow
//! and no call can block. One task attends to each slot that is in use, and ends when it is not.

use std::{collections::HashMap, sync::Arc, time::Duration};

use godot_mcp_shim::tree::Identity;
use parking_lot::Mutex;
use router_core::{Run, SlotKey};
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    LaunchSpec, SupervisorEvent,
    adoption::Found,
    slot::{Attendant, First},
    supervisor::Surroundings,
};

/// What the driver wants of a slot and has not got yet.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) launch: Option<(Run, LaunchSpec)>,
    pub(crate) stop: Option<(Run, Duration)>,
    pub(crate) kill: Option<Run>,
    /// What the router wants its shim to keep for it.
    pub(crate) blob: Option<(Run, Vec<u8>)>,
    pub(crate) release: Option<Release>,
}

/// Whom to let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// This run, if it is still the slot's.
    Run(Run),
    /// Whatever runs.
    Any,
}

/// What is known of a slot's present process tree.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) run: Run,
    pub(crate) shim: Identity,
    /// The members of the tree at the last sample: what a sweep finds even without a marker.
    pub(crate) sampled: Vec<Identity>,
    pub(crate) rss_bytes: Option<u64>,
    /// Set when a kill is sent: half a tree says nothing about the whole.
    pub(crate) dying: bool,
}

/// One slot in use.
#[derive(Debug)]
pub(crate) struct SlotCell {
    pub(crate) key: SlotKey,
    pub(crate) wishes: Mutex<Wishes>,
    pub(crate) wake: Notify,
    pub(crate) live: Mutex<Option<Live>>,
}

/// All slots in use.
#[derive(Debug)]
pub(crate) struct Slots {
    cells: Mutex<HashMap<SlotKey, Arc<SlotCell>>>,
    tasks: TaskTracker,
    abandoned: CancellationToken,
}

impl Slots {
    pub(crate) fn new(tasks: TaskTracker) -> Self {
        Self {
            cells: Mutex::default(),
            tasks,
            abandoned: CancellationToken::new(),
        }
    }

    pub(crate) fn launch(
        self: &Arc<Self>,
        around: &Arc<Surroundings>,
        runtime: &Handle,
        key: SlotKey,
        run: Run,
        spec: LaunchSpec,
    ) {
        let mut cells = self.cells.lock();
        if let Some(cell) = cells.get(&key) {
            let replaced = cell.wishes.lock().launch.replace((run, spec));
            cell.wake.notify_one();
            if let Some((former, _)) = replaced {
                // The driver asks for one run at a time; this keeps its books whole if it ever does not.
                let _full = around.events.try_send(SupervisorEvent::SpawnFailed {
                    key,
                    run: former,
                    error: format!("run {run} was asked for instead"),
                });
            }
            return;
        }
        let cell = Arc::new(SlotCell::new(key.clone()));
        cell.wishes.lock().launch = Some((run, spec));
        cells.insert(key, Arc::clone(&cell));
        self.attend(Arc::clone(around), runtime, cell, First::Launch);
    }

    /// Begins to attend to a slot whose shim was found. `done` hears whether it was adopted.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        around: &Arc<Surroundings>,
        runtime: &Handle,
        found: Found,
        done: oneshot::Sender<bool>,
    ) {
        let mut cells = self.cells.lock();
        if cells.contains_key(&found.key) {
            return;
        }
        let cell = Arc::new(SlotCell::new(found.key.clone()));
        cells.insert(found.key.clone(), Arc::clone(&cell));
        self.attend(
            Arc::clone(around),
            runtime,
            cell,
            First::Adopt(Box::new(found), done),
        );
    }

    pub(crate) fn stop(&self, key: &SlotKey, run: Run, grace: Duration) {
        self.wish(key, |wishes| wishes.stop = Some((run, grace)));
    }

    /// `false` when the slot is not in use, so that nobody will answer.
    pub(crate) fn kill(&self, key: &SlotKey, run: Run) -> bool {
        self.wish(key, |wishes| wishes.kill = Some(run))
    }

    pub(crate) fn release(&self, key: &SlotKey, run: Run) {
        self.wish(key, |wishes| wishes.release = Some(Release::Run(run)));
    }

    pub(crate) fn blob(&self, key: &SlotKey, run: Run, blob: Vec<u8>) {
        self.wish(key, |wishes| wishes.blob = Some((run, blob)));
    }

    pub(crate) fn release_all(&self) {
        let cells: Vec<Arc<SlotCell>> = self.cells.lock().values().cloned().collect();
        for cell in cells {
            cell.wishes.lock().release = Some(Release::Any);
            cell.wake.notify_one();
        }
    }

    pub(crate) fn abandon(&self) {
        self.abandoned.cancel();
    }

    /// The slots with a process, for sampling.
    pub(crate) fn live(&self) -> Vec<(Arc<SlotCell>, Live)> {
        let cells: Vec<Arc<SlotCell>> = self.cells.lock().values().cloned().collect();
        let with_live = |cell: Arc<SlotCell>| {
            let live = cell.live.lock().clone()?;
            Some((cell, live))
        };
        cells.into_iter().filter_map(with_live).collect()
    }

    /// Forgets a slot, unless a launch or a kill was asked for in the meantime.
    pub(crate) fn retire(&self, cell: &SlotCell) -> bool {
        let mut cells = self.cells.lock();
        {
            let wishes = cell.wishes.lock();
            if wishes.launch.is_some() || wishes.kill.is_some() {
                return false;
            }
        }
        cells.remove(&cell.key);
        true
    }

    /// Forgets a slot that was released.
    pub(crate) fn forget(&self, cell: &SlotCell) {
        self.cells.lock().remove(&cell.key);
    }

    fn attend(
        self: &Arc<Self>,
        around: Arc<Surroundings>,
        runtime: &Handle,
        cell: Arc<SlotCell>,
        first: First,
    ) {
        let attendant = Attendant::new(around, Arc::clone(self), cell);
        let abandoned = self.abandoned.clone();
        let task = async move {
            tokio::select! {
                () = attendant.attend(first) => {}
                () = abandoned.cancelled() => {}
            }
        };
        self.tasks.spawn_on(task, runtime);
    }

    /// Changes the wishes of a slot in use. The map stays locked meanwhile, so that the slot's task, which retires
    /// under the same lock, sees the wish or has gone before it.
    fn wish(&self, key: &SlotKey, change: impl FnOnce(&mut Wishes)) -> bool {
        let cells = self.cells.lock();
        let Some(cell) = cells.get(key) else {
            return false;
        };
        change(&mut cell.wishes.lock());
        cell.wake.notify_one();
        true
    }
}

impl SlotCell {
    fn new(key: SlotKey) -> Self {
        Self {
            key,
            wishes: Mutex::default(),
            wake: Notify::new(),
            live: Mutex::default(),
        }
    }
}
