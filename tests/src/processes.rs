//! A look at `/proc`: who is alive, who belongs to a test, and what it takes of memory.

use std::{
    fmt, fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

/// A process as it was when somebody looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its command line, arguments parted by blanks.
    pub command: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.command)
    }
}

/// Every living process but our own that names a folder in its environment, its command line, its working directory or its open
/// files: everything that a router in that folder has started does, since its sockets, locks and logs are there.
#[must_use]
pub fn touching(folder: &Path) -> Vec<Process> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let needle = folder.as_os_str().as_bytes();
    let touches = |pid: i32| {
        let root = PathBuf::from(format!("/proc/{pid}"));
        let text = |name: &str| fs::read(root.join(name)).unwrap_or_default();
        let holds = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        let link = |path: PathBuf| {
            fs::read_link(path).is_ok_and(|target| holds(target.as_os_str().as_bytes()))
        };
        let files = || {
            fs::read_dir(root.join("fd"))
                .into_iter()
                .flatten()
                .flatten()
        };
        holds(&text("environ"))
            || holds(&text("cmdline"))
            || link(root.join("cwd"))
            || files().any(|entry| link(entry.path()))
    };
    pids()
        .filter(|&pid| pid != own && is_alive(pid) && touches(pid))
        .map(|pid| Process {
            pid,
            command: command(pid),
        })
        .collect()
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn command(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.trim_end_matches('\0').replace('\0', " ")
}

/// Whether a process lives; one that only waits to be reaped does not.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name stands in parentheses and may hold anything: what follows the last one counts (proc(5)).
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The parent of a process.
#[must_use]
pub fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

/// Sends a signal. A process that is gone already is none of our business.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// SIGKILL.
pub fn kill(pid: i32) {
    signal(pid, Signal::KILL);
}

/// A line of `/proc/PID/FILE` in KiB, as bytes.
fn kib(pid: i32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let figure = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    figure.unwrap_or(0) * 1024
}

/// Processor time that it has taken, user and system, in steps of 10 ms.
///
/// # Panics
/// It is gone.
#[must_use]
pub fn processor_time(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name before may hold anything; what follows it begins with the third field.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Resident memory, in bytes.
#[must_use]
pub fn resident_bytes(pid: i32) -> u64 {
    kib(pid, "status", "VmRSS:")
}

/// Memory that nobody shares with it, in bytes.
#[must_use]
pub fn private_bytes(pid: i32) -> u64 {
    kib(pid, "smaps_rollup", "Private_Clean:") + kib(pid, "smaps_rollup", "Private_Dirty:")
}
