//! A supervisor with directories of its own, and the questions that tests ask about processes.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use godot_mcp_shim::{
    record::{self, LockState, SlotRecord},
    tree::{Identity, ProcessTable},
};
use parking_lot::Mutex;
use router_core::{InstanceId, Run, SlotKey};
use router_supervisor::{
    InstanceIo, LaunchSpec, SlotExit, Supervisor, SupervisorConfig, SupervisorEvent,
};
use tokio::sync::mpsc;

/// How long anything may take on a loaded machine before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The name of the router in most tests.
pub(crate) const ROUTER: &str = "test-router";

/// The cgroups that runs were given: the socket directory of the run, and the cgroup.
static CGROUPS: Mutex<Vec<(PathBuf, PathBuf)>> = Mutex::new(Vec::new());

/// A directory with sockets and logs, cleaned of processes when the test ends, however it ends.
pub(crate) struct Yard {
    dir: tempfile::TempDir,
}

impl Yard {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("gms").tempdir().unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn config(&self, router_id: &str) -> SupervisorConfig {
        config_in(self.path(), router_id)
    }

    pub(crate) fn router(&self) -> Router {
        self.router_with(|_| {})
    }

    pub(crate) fn router_with(&self, change: impl FnOnce(&mut SupervisorConfig)) -> Router {
        let mut config = self.config(ROUTER);
        change(&mut config);
        Router::new(config)
    }

    pub(crate) fn socket(&self, instance: &str) -> PathBuf {
        self.path().join(format!("godot-mcp-{instance}.sock"))
    }

    pub(crate) fn lock(&self, instance: &str) -> PathBuf {
        self.path().join(format!("godot-mcp-{instance}.lock"))
    }

    /// What the living shim of an instance wrote into its lock.
    pub(crate) fn record(&self, instance: &str) -> SlotRecord {
        match record::inspect(&self.lock(instance)).unwrap() {
            LockState::Held(Some(record)) => record,
            other => panic!("no living shim holds {instance}: {other:?}"),
        }
    }

    /// The living processes that were started with a `SOCKET_PATH` in this yard, shims excluded.
    pub(crate) fn children(&self) -> Vec<Identity> {
        let needle = format!("SOCKET_PATH={}/", self.path().display());
        with_entry(|entry| entry.starts_with(needle.as_bytes()))
    }

    /// The living shims that have a file of this yard open (its lock).
    pub(crate) fn shims(&self) -> Vec<Identity> {
        processes(|pid| {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            comm.trim() == "godot-mcp-shim" && self.is_open_in(pid)
        })
    }

    /// Waits until the shim of an instance has received its blob.
    pub(crate) async fn until_blob_kept(&self, instance: &str) {
        let shim = self.record(instance).shim.pid;
        until("the blob to arrive", || {
            let open = fs::read_dir(format!("/proc/{shim}/fd")).unwrap().flatten();
            open.filter_map(|entry| fs::read_link(entry.path()).ok())
                .any(|path| path.to_string_lossy().contains("godot-mcp-blob"))
        })
        .await;
    }

    fn is_open_in(&self, pid: i32) -> bool {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten();
        descriptors.into_iter().any(|entry| {
            fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(self.path()))
        })
    }

    /// Nothing of this yard lives any more, and the socket directory holds none of our files.
    pub(crate) async fn assert_clean(&self) {
        until("every process of the test to be gone", || {
            self.children().is_empty() && self.shims().is_empty()
        })
        .await;
        let cgroups = CGROUPS.lock().clone();
        for (_, cgroup) in cgroups.iter().filter(|(yard, _)| yard == self.path()) {
            assert!(!cgroup.exists(), "left behind: {cgroup:?}");
        }
        let names = fs::read_dir(self.path())
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name());
        let left: Vec<_> = names
            .filter(|name| name.to_string_lossy().starts_with("godot-mcp-"))
            .collect();
        assert!(left.is_empty(), "left in the socket directory: {left:?}");
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        // Only after a failed test is there anything to do.
        for one in self.shims().into_iter().chain(self.children()) {
            let _gone = one.signal(rustix::process::Signal::KILL);
        }
    }
}

/// The shim that the build of the workspace has put beside the folder of this test's program. Cargo builds for a test the programs of
/// its own package only, so this also compares times: an old shim must not pass for the one whose sources are here.
pub(crate) fn shim_program() -> PathBuf {
    const REMEDY: &str = "run `cargo build -p godot-mcp-shim`, or build the whole workspace";
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("godot-mcp-shim");
    let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let Some(built) = modified(&path) else {
        panic!("{} is missing: {REMEDY}", path.display())
    };
    // Cargo lists there what it compares itself: the program, a colon, and every source of it.
    let listed = fs::read_to_string(path.with_extension("d")).unwrap_or_default();
    let newer = listed
        .split_whitespace()
        .skip(1)
        .find(|source| modified(Path::new(source)).is_some_and(|changed| changed > built));
    if let Some(source) = newer {
        panic!("{} is older than {source}: {REMEDY}", path.display());
    }
    path
}

pub(crate) fn config_in(dir: &Path, router_id: &str) -> SupervisorConfig {
    let mut config = SupervisorConfig::new(dir, dir.join("logs"), router_id);
    config.shim_path = shim_program();
    config.memory_interval = Duration::from_millis(200);
    config.router_exit_grace = Duration::from_millis(300);
    config
}

/// A supervisor with the end of its events.
pub(crate) struct Router {
    pub(crate) supervisor: Supervisor,
    socket_dir: PathBuf,
    events: mpsc::Receiver<SupervisorEvent>,
}

/// A run that was started or adopted.
pub(crate) struct Running {
    pub(crate) key: SlotKey,
    pub(crate) run: Run,
    pub(crate) pid: u32,
    pub(crate) io: InstanceIo,
}

impl Router {
    pub(crate) fn new(config: SupervisorConfig) -> Self {
        let (sender, events) = mpsc::channel(256);
        let socket_dir = config.socket_dir.clone();
        let supervisor = Supervisor::new(config, sender).unwrap();
        Self {
            supervisor,
            socket_dir,
            events,
        }
    }

    /// The next event that is not a memory sample.
    pub(crate) async fn next(&mut self) -> SupervisorEvent {
        loop {
            match self.next_of_any_kind().await {
                SupervisorEvent::Memory { .. } => {}
                other => return other,
            }
        }
    }

    /// The next event that has come already and is not a memory sample.
    pub(crate) fn arrived(&mut self) -> Option<SupervisorEvent> {
        loop {
            match self.events.try_recv().ok()? {
                SupervisorEvent::Memory { .. } => {}
                other => return Some(other),
            }
        }
    }

    pub(crate) async fn next_of_any_kind(&mut self) -> SupervisorEvent {
        let next = tokio::time::timeout(DEADLINE, self.events.recv()).await;
        next.expect("no event came within the deadline")
            .expect("the supervisor is there")
    }

    pub(crate) async fn start(&mut self, instance: &str, run: u64, spec: LaunchSpec) -> Running {
        self.supervisor.launch(key(instance), Run(run), spec);
        match self.next().await {
            SupervisorEvent::Started { key, run, pid, io } => {
                self.note_cgroup(instance);
                Running { key, run, pid, io }
            }
            other => panic!("expected a start, got {other:?}"),
        }
    }

    fn note_cgroup(&self, instance: &str) {
        let lock = self.socket_dir.join(format!("godot-mcp-{instance}.lock"));
        if let Ok(LockState::Held(Some(record))) = record::inspect(&lock) {
            let yard = self.socket_dir.clone();
            CGROUPS
                .lock()
                .extend(record.cgroup.map(|cgroup| (yard, cgroup)));
        }
    }

    pub(crate) async fn spawn_failure(&mut self, instance: &str, spec: LaunchSpec) -> String {
        self.supervisor.launch(key(instance), Run(1), spec);
        match self.next().await {
            SupervisorEvent::SpawnFailed { error, .. } => error,
            other => panic!("expected a failure, got {other:?}"),
        }
    }

    pub(crate) async fn exit(&mut self) -> SlotExit {
        match self.next().await {
            SupervisorEvent::Exited { exit, .. } => exit,
            other => panic!("expected an exit, got {other:?}"),
        }
    }

    pub(crate) async fn kill(&mut self, running: &Running) -> SlotExit {
        self.supervisor.kill(&running.key, running.run);
        self.exit().await
    }

    /// Every event up to the end of adoption, which is not among them.
    pub(crate) async fn adopt(&mut self) -> (Vec<SupervisorEvent>, usize) {
        self.supervisor.adopt_all();
        let mut events = Vec::new();
        loop {
            match self.next().await {
                SupervisorEvent::AdoptionFinished { adopted } => return (events, adopted),
                other => events.push(other),
            }
        }
    }

    /// Adopts exactly one run.
    pub(crate) async fn adopt_one(&mut self) -> (Running, Option<Vec<u8>>, String) {
        let (mut events, adopted) = self.adopt().await;
        assert_eq!((events.len(), adopted), (1, 1), "{events:?}");
        let Some(SupervisorEvent::Adopted { key, run, adoption }) = events.pop() else {
            panic!("not adopted")
        };
        let running = Running {
            key,
            run,
            pid: adoption.pid,
            io: adoption.io.expect("it is not being stopped"),
        };
        (running, adoption.blob, adoption.spec_digest)
    }
}

impl Running {
    /// Writes a line and reads lines until one equals the answer.
    pub(crate) async fn converse(&mut self, say: &str, answer: &str) {
        let InstanceIo::Stdio { stdin, stdout } = &self.io else {
            panic!("not stdio")
        };
        write_all(stdin, format!("{say}\n").as_bytes()).await;
        let line = read_line(stdout).await;
        assert_eq!(line, answer);
    }

    pub(crate) async fn line(&mut self) -> String {
        let InstanceIo::Stdio { stdout, .. } = &self.io else {
            panic!("not stdio")
        };
        read_line(stdout).await
    }
}

async fn write_all(fd: &OwnedFd, bytes: &[u8]) {
    let mut file = fs::File::from(fd.try_clone().unwrap());
    let mut rest = bytes;
    let end = Instant::now() + DEADLINE;
    while !rest.is_empty() {
        assert!(Instant::now() < end, "the child does not read");
        match file.write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => pause().await,
            Err(error) => panic!("cannot write to the child: {error}"),
        }
    }
}

pub(crate) async fn read_line(fd: &OwnedFd) -> String {
    let mut file = fs::File::from(fd.try_clone().unwrap());
    let mut line = Vec::new();
    let end = Instant::now() + DEADLINE;
    loop {
        assert!(
            Instant::now() < end,
            "no line came; so far {:?}",
            String::from_utf8_lossy(&line)
        );
        let mut byte = [0];
        match file.read(&mut byte) {
            Ok(0) => panic!(
                "the stream ended after {:?}",
                String::from_utf8_lossy(&line)
            ),
            Ok(_) if byte == *b"\n" => return String::from_utf8(line).unwrap(),
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => pause().await,
            Err(error) => panic!("cannot read from the child: {error}"),
        }
    }
}

/// A child that is a shell script.
pub(crate) fn sh(script: &str) -> LaunchSpec {
    LaunchSpec::stdio("/bin/sh", ["-c", script])
}

/// A child that answers `pong` to every line, and nothing else ends than its input.
pub(crate) fn ponger() -> LaunchSpec {
    sh("while read line; do echo pong; done")
}

pub(crate) fn key(instance: &str) -> SlotKey {
    SlotKey::first(InstanceId::parse(instance).unwrap())
}

/// Waits for a state of the world that nothing announces.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "timed out waiting for {what}");
        pause().await;
    }
}

pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// The living processes that have such an entry in their environment.
pub(crate) fn with_entry(is_it: impl Fn(&[u8]) -> bool) -> Vec<Identity> {
    processes(|pid| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(&is_it)
    })
}

fn processes(belongs: impl Fn(i32) -> bool) -> Vec<Identity> {
    let own = i32::try_from(std::process::id()).unwrap();
    let table = ProcessTable::read();
    let identities = table.all().map(|stat| stat.identity);
    let found: Vec<Identity> = identities
        .filter(|one| one.pid != own && belongs(one.pid) && one.alive())
        .collect();
    found
}
