//! The calls of the driver, none of which waits for a process.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use godot_mcp_shim::{cgroup, paths};
use router_core::{Run, SlotKey};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Capabilities, LaunchSpec, LogTailError, SupervisorConfig, SupervisorEvent, adoption,
    cells::{ReleaseRequest, SlotCells},
    context::Context,
    logs, memory,
    slots::Slots,
};

/// How long [`Supervisor::release_all`] waits for launches that are under way.
const RELEASE_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no supervisor.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The shim binary cannot be opened.
    #[error("the shim {}: {source}; it belongs beside godot-mcp-router", path.display())]
    Shim {
        /// Where it was sought.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory cannot be made or resolved.
    #[error("the directory {}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The router's side of all shims. Dropping it closes the control connections and kills nothing.
#[derive(Debug)]
pub struct Supervisor {
    context: Arc<Context>,
    cells: Arc<SlotCells>,
    slots: Arc<Slots>,
    tasks: TaskTracker,
    /// Ends the sampler and the adoption; the slots end by themselves or with the runtime.
    ended: CancellationToken,
    runtime: Handle,
    capabilities: Capabilities,
}

impl Supervisor {
    /// Opens the shim binary, makes the directories, finds out what the system offers, and begins to sample memory.
    /// Must be called within a tokio runtime, whose handle later calls use from any thread.
    ///
    /// # Errors
    /// The shim is missing, or a directory cannot be made.
    pub fn new(
        config: SupervisorConfig,
        events: mpsc::Sender<SupervisorEvent>,
    ) -> Result<Self, SupervisorError> {
        let config = SupervisorConfig {
            socket_dir: create_absolute(&config.socket_dir)?,
            log_dir: create_absolute(&config.log_dir)?,
            ..config
        };
        let shim = File::open(&config.shim_path).map_err(|source| SupervisorError::Shim {
            path: config.shim_path.clone(),
            source,
        })?;
        let working_dir = create_absolute(Path::new("."))?;
        let cgroup_parent = if config.use_cgroup {
            cgroup::usable_parent()
        } else {
            None
        };
        let capabilities = Capabilities::of(cgroup_parent.as_deref());
        let context = Arc::new(Context {
            config,
            shim,
            cgroup_parent,
            working_dir,
            events,
        });
        let tasks = TaskTracker::new();
        let runtime = Handle::current();
        let cells = Arc::new(SlotCells::default());
        let ended = CancellationToken::new();
        let sampler = memory::sample(Arc::clone(&context), Arc::clone(&cells), ended.clone());
        tasks.spawn_on(sampler, &runtime);
        let slots = Slots::new(
            Arc::clone(&context),
            Arc::clone(&cells),
            tasks.clone(),
            runtime.clone(),
        );
        Ok(Self {
            context,
            cells,
            slots: Arc::new(slots),
            tasks,
            ended,
            runtime,
            capabilities,
        })
    }

    /// Finds the shims of earlier lives of this router, and what they left behind. Ends with
    /// [`SupervisorEvent::AdoptionFinished`]; launch nothing before it.
    pub fn adopt_all(&self) {
        let work = adoption::adopt_all(Arc::clone(&self.context), Arc::clone(&self.slots));
        let ended = self.ended.clone();
        let bounded = async move {
            tokio::select! {
                () = work => {}
                () = ended.cancelled() => {}
            }
        };
        self.tasks.spawn_on(bounded, &self.runtime);
    }

    /// Starts a run. Answered by `Started` or `SpawnFailed`; the latter at once when the slot's former run has not
    /// ended, and not before the sweep after a lost shim is over.
    pub fn launch(&self, key: SlotKey, run: Run, spec: LaunchSpec) {
        self.slots.launch(key, run, spec);
    }

    /// SIGTERM to the run's process group, then after `grace` SIGKILL to its whole tree. Answered by `Exited`, or not
    /// at all when that run is not there (any more).
    pub fn stop(&self, key: &SlotKey, run: Run, grace: Duration) {
        let stop = Some((run, grace));
        self.cells.request(key, |requests| requests.stop = stop);
    }

    /// SIGKILL to the run's whole tree. Answered by `Exited` in any case.
    pub fn kill(&self, key: &SlotKey, run: Run) {
        if !self
            .cells
            .request(key, |requests| requests.kill = Some(run))
        {
            let (context, key) = (Arc::clone(&self.context), key.clone());
            let answer = async move { context.emit_never_lived(key, run).await };
            self.tasks.spawn_on(answer, &self.runtime);
        }
    }

    /// Releases one run without stopping it, as [`Supervisor::release_all`] does of all. Not answered.
    pub fn release(&self, key: &SlotKey, run: Run) {
        let release = Some(ReleaseRequest::Run(run));
        self.cells
            .request(key, |requests| requests.release = release);
    }

    /// Leaves a blob with the run's shim, in place of the one before. At most 1 MiB; a larger one is refused and
    /// logged.
    pub fn put_blob(&self, key: &SlotKey, run: Run, blob: Vec<u8>) {
        let blob = Some((run, blob));
        self.cells.request(key, |requests| requests.blob = blob);
    }

    /// Releases every slot without stopping any, for another router to adopt. Call it when the upstreams have
    /// closed their descriptors. Waits a bounded time for launches that are under way. A slot with
    /// `on_router_exit = "stop"` is then stopped by its shim, after [`SupervisorConfig::router_exit_grace`].
    pub async fn release_all(&self) {
        self.ended.cancel();
        self.cells
            .request_of_all(|requests| requests.release = Some(ReleaseRequest::Any));
        self.tasks.close();
        if tokio::time::timeout(RELEASE_WITHIN, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                reason = "a launch is still under way",
                "not every slot released"
            );
        }
    }

    /// How trees are killed and limited here.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Where the log of a slot is.
    #[must_use]
    pub fn log_path(&self, key: &SlotKey) -> PathBuf {
        paths::current_log(
            &self.context.config.log_dir,
            key.instance.as_str(),
            key.slot,
        )
    }

    /// The last `lines` lines of a slot's log, oldest first; rotated files are read where the current one is short.
    ///
    /// # Errors
    /// The log exists and cannot be read.
    pub async fn logs_tail(
        &self,
        key: &SlotKey,
        lines: usize,
    ) -> Result<Vec<String>, LogTailError> {
        logs::tail(self.log_path(key), self.context.config.log_files_max, lines).await
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.ended.cancel();
        self.slots.abandon();
    }
}

fn create_absolute(path: &Path) -> Result<PathBuf, SupervisorError> {
    let made = std::path::absolute(path).and_then(|absolute| {
        fs::create_dir_all(&absolute)?;
        // What is in it must be found again: one that cannot be listed would hide living instances.
        fs::read_dir(&absolute)?;
        Ok(absolute)
    });
    made.map_err(|source| SupervisorError::Directory {
        path: path.to_owned(),
        source,
    })
}
