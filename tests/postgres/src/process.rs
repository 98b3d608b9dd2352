//! The processes of the throw-away server: whose they are, how they are started, stopped, frozen, and that none stays.

use std::{
    collections::VecDeque,
    io::{self, BufRead as _, BufReader},
    os::unix::fs::chown,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::error::{ClusterError, io_error};

/// Longest wait for a start or an end: a loaded machine takes seconds.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Lines of its log that are kept for an error.
const LOG_LINES_MAX: usize = 40;

/// Who a server runs as where the test is root.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// `postgres` where the test runs as root, otherwise the account of the test.
    pub(crate) fn for_server() -> Result<Option<Self>, ClusterError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").map_err(io_error("/etc/passwd"))?;
        let found = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let named = fields.next() == Some("postgres");
            let mut numbers = fields.skip(1).map(str::parse);
            match (named, numbers.next(), numbers.next()) {
                (true, Some(Ok(uid)), Some(Ok(gid))) => Some(Self { uid, gid }),
                _ => None,
            }
        });
        found.map(Some).ok_or(ClusterError::NotInstalled)
    }

    /// Makes it the owner of a file or directory.
    pub(crate) fn own(&self, path: &Path) -> Result<(), ClusterError> {
        chown(path, Some(self.uid), Some(self.gid)).map_err(io_error("chown"))
    }
}

/// A program that runs as the account, and ends when the thread that starts it does.
pub(crate) fn command(account: Option<&Account>, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT"]);
    if let Some(Account { uid, gid }) = account {
        command.args([
            format!("--reuid={uid}"),
            format!("--regid={gid}"),
            "--clear-groups".to_owned(),
        ]);
    }
    command.arg("--").arg(program);
    command
        .current_dir("/")
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    command
}

/// Waits for something that nothing announces.
pub(crate) fn until<T>(
    what: &'static str,
    mut probe: impl FnMut() -> Option<T>,
) -> Result<T, ClusterError> {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        if let Some(found) = probe() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            let log = String::new();
            return Err(ClusterError::Late { what, log });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

type Log = Arc<Mutex<VecDeque<String>>>;

/// A running server. Its own thread starts it (so that it ends with the process, not with a test's thread), reads its
/// log and reaps it.
#[derive(Debug)]
pub(crate) struct Server {
    pid: Pid,
    log: Log,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server and waits until it takes connections.
    pub(crate) fn start(mut command: Command) -> Result<Self, ClusterError> {
        let log = Log::default();
        let (pid_sender, pid) = mpsc::channel();
        let (ready_sender, ready) = mpsc::channel();
        let (ended_sender, ended) = mpsc::channel();
        let kept = Arc::clone(&log);
        let thread = std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || {
                command.stdout(Stdio::null()).stderr(Stdio::piped());
                let spawned = command.spawn();
                let child = match spawned {
                    Ok(child) => child,
                    Err(error) => {
                        let _ = pid_sender.send(Err(error));
                        return;
                    }
                };
                let _ = pid_sender.send(Ok(child.id()));
                watch(child, &kept, &ready_sender);
                let _ = ended_sender.send(());
            })
            .map_err(io_error("a thread"))?;
        let pid = pid
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("its thread ended")))
            .map_err(io_error("setpriv"))?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(ClusterError::NotInstalled)?;
        let server = Self {
            pid,
            log,
            ended,
            thread: Some(thread),
        };
        match ready.recv_timeout(WAIT_MAX) {
            Ok(()) => Ok(server),
            Err(_) => Err(server.late("ready")),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Ends it as its operator would.
    pub(crate) fn stop(mut self) -> Result<(), ClusterError> {
        self.thaw()?;
        self.signal(self.pid, Signal::INT)?;
        if self.ended.recv_timeout(WAIT_MAX).is_err() {
            return Err(self.late("stopped"));
        }
        self.join();
        Ok(())
    }

    /// Stops the first process before the others, so that it starts no new ones meanwhile.
    pub(crate) fn freeze(&self) -> Result<(), ClusterError> {
        self.signal(self.pid, Signal::STOP)?;
        for child in self.children() {
            self.signal(child, Signal::STOP)?;
        }
        Ok(())
    }

    pub(crate) fn thaw(&self) -> Result<(), ClusterError> {
        for child in self.children() {
            self.signal(child, Signal::CONT)?;
        }
        self.signal(self.pid, Signal::CONT)
    }

    /// A process that is gone needs no signal.
    fn signal(&self, pid: Pid, signal: Signal) -> Result<(), ClusterError> {
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(io_error("a signal")(error.into())),
        }
    }

    /// Every process of a server is a child of its first one.
    fn children(&self) -> Vec<Pid> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = std::fs::read_to_string(path).unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect()
    }

    fn late(&self, what: &'static str) -> ClusterError {
        let log: Vec<String> = self.log.lock().iter().cloned().collect();
        ClusterError::Late {
            what,
            log: log.join("\n"),
        }
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.thread.is_none() {
            return;
        }
        // QUIT ends all of its processes at once: nothing in here is worth keeping.
        let _ = self.thaw();
        let _ = self.signal(self.pid, Signal::QUIT);
        if self.ended.recv_timeout(WAIT_MAX).is_err() {
            let _ = self.signal(self.pid, Signal::KILL);
        }
        self.join();
    }
}

/// Reads the log until its last writer is gone, and reaps.
fn watch(mut child: Child, log: &Log, ready: &mpsc::Sender<()>) {
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if line.contains("ready to accept connections") {
                let _ = ready.send(());
            }
            let mut log = log.lock();
            if log.len() == LOG_LINES_MAX {
                log.pop_front();
            }
            log.push_back(line);
        }
    }
    let _ = child.wait();
}
