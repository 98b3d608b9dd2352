//! The supervisor's front: the calls of the driver, none of which waits for a process.

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
    Capabilities, LaunchSpec, LogTailError, SupervisorEvent, adoption, logs, memory, slots::Slots,
};

/// How long [`Supervisor::release_all`] waits for launches that are under way.
const RELEASE_WITHIN: Duration = Duration::from_secs(5);

/// Where things are, who we are, how often to look.
#[derive(Debug, Clone)]
pub struct SupervisorConfig {
    /// Directory of the instances' sockets and slot locks (`instances.socket_dir`, by default `/tmp`).
    pub socket_dir: PathBuf,
    /// Directory of the instances' logs: `{log_dir}/{id}.log`, rotated to `{id}~1.log` and up.
    pub log_dir: PathBuf,
    /// Size at which an instance's log is rotated.
    pub log_bytes_max: u64,
    /// How many rotated files are kept beside the current one.
    pub log_files_max: u32,
    /// The `godot-mcp-shim` binary; see [`SupervisorConfig::shim_beside_this_program`].
    pub shim_path: PathBuf,
    /// This router's name, the same over restarts (see [`crate::DataDir`]).
    pub router_id: String,
    /// Grows with every start of this router (see [`crate::DataDir`]).
    pub epoch: u64,
    /// How often memory is sampled.
    pub memory_interval: Duration,
    /// How long a slot with `on_router_exit = "stop"` waits for a router to come back.
    pub router_exit_grace: Duration,
    /// Whether cgroups may be used; `false` forces the way without.
    pub use_cgroup: bool,
}

impl SupervisorConfig {
    /// The defaults, for a router of this name with its sockets and logs there.
    #[must_use]
    pub fn new(
        socket_dir: impl Into<PathBuf>,
        log_dir: impl Into<PathBuf>,
        router_id: impl Into<String>,
    ) -> Self {
        Self {
            socket_dir: socket_dir.into(),
            log_dir: log_dir.into(),
            // Five files of this size tell of some days of a chatty server and cost at most 50 MiB each.
            log_bytes_max: 10 * 1024 * 1024,
            log_files_max: 4,
            shim_path: Self::shim_beside_this_program(),
            router_id: router_id.into(),
            epoch: 0,
            memory_interval: Duration::from_secs(5),
            router_exit_grace: Duration::from_secs(10),
            use_cgroup: true,
        }
    }

    /// `godot-mcp-shim` in the directory of the running program.
    #[must_use]
    pub fn shim_beside_this_program() -> PathBuf {
        let own = std::env::current_exe().unwrap_or_default();
        own.with_file_name("godot-mcp-shim")
    }
}

/// Why there is no supervisor.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The shim binary cannot be opened.
    #[error("the shim {}: {source}; it belongs beside godot-mcp-router", path.display())]
    Shim {
        /// Where it was looked for.
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

/// What all parts of the supervisor need to know.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) config: SupervisorConfig,
    /// The shim binary as it was when the router started: a replaced or removed file does not matter.
    pub(crate) shim: File,
    pub(crate) cgroup_parent: Option<PathBuf>,
    pub(crate) working_dir: PathBuf,
    pub(crate) events: mpsc::Sender<SupervisorEvent>,
}

/// The router's side of all shims. Dropping it closes the control connections and kills nothing.
#[derive(Debug)]
pub struct Supervisor {
    around: Arc<Surroundings>,
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
            socket_dir: made_and_absolute(&config.socket_dir)?,
            log_dir: made_and_absolute(&config.log_dir)?,
            ..config
        };
        let shim = File::open(&config.shim_path).map_err(|source| SupervisorError::Shim {
            path: config.shim_path.clone(),
            source,
        })?;
        let working_dir = made_and_absolute(Path::new("."))?;
        let cgroup_parent = if config.use_cgroup {
            cgroup::usable_parent()
        } else {
            None
        };
        let capabilities = Capabilities::of(cgroup_parent.as_deref());
        let around = Arc::new(Surroundings {
            config,
            shim,
            cgroup_parent,
            working_dir,
            events,
        });
        let tasks = TaskTracker::new();
        let slots = Arc::new(Slots::new(tasks.clone()));
        let ended = CancellationToken::new();
        let runtime = Handle::current();
        tasks.spawn_on(
            memory::sample(Arc::clone(&around), Arc::clone(&slots), ended.clone()),
            &runtime,
        );
        Ok(Self {
            around,
            slots,
            tasks,
            ended,
            runtime,
            capabilities,
        })
    }

    /// Looks for the shims of earlier lives of this router, and for what they left behind. Ends with
    /// [`SupervisorEvent::AdoptionFinished`]; launch nothing before it.
    pub fn adopt_all(&self) {
        let work = adoption::adopt_all(
            Arc::clone(&self.around),
            Arc::clone(&self.slots),
            self.runtime.clone(),
        );
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
        self.slots
            .launch(&self.around, &self.runtime, key, run, spec);
    }

    /// SIGTERM to the run's process group, then after `grace` SIGKILL to its whole tree. Answered by `Exited`, or not
    /// at all when that run is not there (any more).
    pub fn stop(&self, key: &SlotKey, run: Run, grace: Duration) {
        self.slots.stop(key, run, grace);
    }

    /// SIGKILL to the run's whole tree. Answered by `Exited` in any case.
    pub fn kill(&self, key: &SlotKey, run: Run) {
        if !self.slots.kill(key, run) {
            let (around, key) = (Arc::clone(&self.around), key.clone());
            let answer = async move { adoption::tell_never_lived(&around, key, run).await };
            self.tasks.spawn_on(answer, &self.runtime);
        }
    }

    /// Lets go of one run without stopping it, as [`Supervisor::release_all`] does of all. Not answered.
    pub fn release(&self, key: &SlotKey, run: Run) {
        self.slots.release(key, run);
    }

    /// Leaves a blob with the run's shim, in place of the one before. At most 1 MiB; a larger one is refused and
    /// logged.
    pub fn put_blob(&self, key: &SlotKey, run: Run, blob: Vec<u8>) {
        self.slots.blob(key, run, blob);
    }

    /// Lets go of every slot without stopping any, for another router to adopt. Call it when the upstreams have
    /// closed their descriptors. Waits a bounded time for launches that are under way. A slot with
    /// `on_router_exit = "stop"` is then stopped by its shim, after [`SupervisorConfig::router_exit_grace`].
    pub async fn release_all(&self) {
        self.ended.cancel();
        self.slots.release_all();
        self.tasks.close();
        if tokio::time::timeout(RELEASE_WITHIN, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                reason = "a launch is still under way",
                "not every slot was released"
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
        paths::current_log(&self.around.config.log_dir, key.instance.as_str(), key.slot)
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
        logs::tail(self.log_path(key), self.around.config.log_files_max, lines).await
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.ended.cancel();
        self.slots.abandon();
    }
}

fn made_and_absolute(path: &Path) -> Result<PathBuf, SupervisorError> {
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
