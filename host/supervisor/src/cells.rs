//! The slots in use: what callers and the task of each share.
//!
//! A request is a value, not a queued command: the newest of its kind replaces the one before, so nothing here can grow and no call
//! can block.

use std::{collections::HashMap, sync::Arc, time::Duration};

use godot_mcp_shim::tree::Identity;
use parking_lot::Mutex;
use router_core::{Run, SlotKey};
use tokio::sync::Notify;

use crate::LaunchSpec;

/// What the driver has asked of a slot and its task has not taken up yet.
#[derive(Debug, Default)]
pub(crate) struct SlotRequests {
    pub(crate) launch: Option<(Run, LaunchSpec)>,
    pub(crate) stop: Option<(Run, Duration)>,
    pub(crate) kill: Option<Run>,
    /// What the shim is to keep for the router.
    pub(crate) blob: Option<(Run, Vec<u8>)>,
    pub(crate) release: Option<ReleaseRequest>,
}

/// Which run to release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReleaseRequest {
    /// This one, if it is still the slot's.
    Run(Run),
    /// Whichever runs.
    Any,
}

/// What is known of a slot's present process tree.
#[derive(Debug, Clone)]
pub(crate) struct RunningTree {
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
    pub(crate) requests: Mutex<SlotRequests>,
    pub(crate) wake: Notify,
    pub(crate) tree: Mutex<Option<RunningTree>>,
}

/// All slots in use.
#[derive(Debug, Default)]
pub(crate) struct SlotCells {
    cells: Mutex<HashMap<SlotKey, Arc<SlotCell>>>,
}

impl SlotCells {
    /// Asks for a launch. Returns the launch that this one replaces, and the cell where the slot was not in use: starting its task
    /// is up to the caller.
    pub(crate) fn request_launch(
        &self,
        key: &SlotKey,
        run: Run,
        spec: LaunchSpec,
    ) -> (Option<Run>, Option<Arc<SlotCell>>) {
        let mut cells = self.cells.lock();
        let known = cells.get(key).cloned();
        let cell = known.clone().unwrap_or_else(|| {
            let cell = Arc::new(SlotCell::new(key.clone()));
            cells.insert(key.clone(), Arc::clone(&cell));
            cell
        });
        let replaced = cell.requests.lock().launch.replace((run, spec));
        cell.wake.notify_one();
        let new = known.is_none().then_some(cell);
        (replaced.map(|(run, _)| run), new)
    }

    /// Takes a slot into use, if it is not.
    pub(crate) fn insert(&self, key: &SlotKey) -> Option<Arc<SlotCell>> {
        let mut cells = self.cells.lock();
        if cells.contains_key(key) {
            return None;
        }
        let cell = Arc::new(SlotCell::new(key.clone()));
        cells.insert(key.clone(), Arc::clone(&cell));
        Some(cell)
    }

    /// Changes the requests to a slot in use; `false` where it is not. The map stays locked meanwhile, so that the slot's task, which
    /// retires under the same lock, sees the request or has ended before it.
    pub(crate) fn request(&self, key: &SlotKey, change: impl FnOnce(&mut SlotRequests)) -> bool {
        let cells = self.cells.lock();
        let Some(cell) = cells.get(key) else {
            return false;
        };
        change(&mut cell.requests.lock());
        cell.wake.notify_one();
        true
    }

    /// Changes the requests to every slot in use.
    pub(crate) fn request_of_all(&self, change: impl Fn(&mut SlotRequests)) {
        for cell in self.cells.lock().values() {
            change(&mut cell.requests.lock());
            cell.wake.notify_one();
        }
    }

    /// The slots with a process, for sampling.
    pub(crate) fn with_trees(&self) -> Vec<(Arc<SlotCell>, RunningTree)> {
        let with_tree = |cell: Arc<SlotCell>| {
            let tree = cell.tree.lock().clone()?;
            Some((cell, tree))
        };
        let cells: Vec<_> = self.cells.lock().values().cloned().collect();
        cells.into_iter().filter_map(with_tree).collect()
    }

    /// Removes a slot, unless a launch or a kill was requested in the meantime.
    pub(crate) fn retire(&self, cell: &SlotCell) -> bool {
        let mut cells = self.cells.lock();
        {
            let requests = cell.requests.lock();
            if requests.launch.is_some() || requests.kill.is_some() {
                return false;
            }
        }
        cells.remove(&cell.key);
        true
    }

    /// Removes a slot that was released.
    pub(crate) fn remove(&self, cell: &SlotCell) {
        self.cells.lock().remove(&cell.key);
    }
}

impl SlotCell {
    fn new(key: SlotKey) -> Self {
        Self {
            key,
            requests: Mutex::default(),
            wake: Notify::new(),
            tree: Mutex::default(),
        }
    }
}
