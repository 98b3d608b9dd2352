//! The process tree of one run: finding it in `/proc`, and ending it.
//!
//! A process is named by its pid and its start time, and signalled through a pidfd whose start time was compared, so
//! that a reused pid is never hit. What belongs to a run: the descendants of its shim (a subreaper, so those that left
//! their session or their parent too), whatever carries the run's marker in its environment, what was recorded
//! earlier, and the descendants of all these. Nothing else is ever signalled.
//!
//! Out of reach: a process that cleared its environment and left its parent while the shim was being killed, unless
//! it was recorded or is in the run's cgroup.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::{cgroup, protocol::MARKER_VARIABLE};

/// The parent of all kernel threads, itself one.
const KTHREADD: i32 = 2;

/// Reads of the environment of a process in the middle of an exec, which is empty: together 50 ms. Setting up
/// a program takes far less, unless its file has to be fetched.
const EXEC_READS: u32 = 50;
const EXEC_READ_INTERVAL: Duration = Duration::from_millis(1);

/// Further reads of an empty environment of a program, until it is taken to have none.
const SETTLED_READS: u32 = 8;

/// An environment that is read in one go; nearly all are far smaller.
const ENVIRONMENT_BYTES: usize = 64 * 1024;

/// Passes over the tree within one round. Each stops what was forked during the one before; the next round begins anew.
const PASSES_MAX: u32 = 8;

/// Between two rounds: what was killed takes about a millisecond to vanish.
const ROUND_INTERVAL: Duration = Duration::from_millis(5);

/// Rounds in a row that must find nothing before a sweep is over: one can miss what is being forked at that moment.
const EMPTY_ROUNDS: u32 = 2;

/// A process over its whole life: the pid alone may be given to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot, field 22 of `/proc/PID/stat`.
    pub started: u64,
}

impl Identity {
    /// The process that has this pid now.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        Stat::read(pid).map(|stat| stat.identity)
    }

    /// Whether that process still runs (a zombie does not).
    #[must_use]
    pub fn alive(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.identity == self && !stat.dead)
    }

    /// Sends a signal to this process and to no other. `false` when it is gone.
    #[must_use]
    pub fn signal(self, signal: Signal) -> bool {
        let opened =
            Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // The pidfd is of whatever has the pid now. If that process started when ours did, it is ours, and the
        // pidfd stays with it whatever becomes of the pid.
        opened.is_some_and(|pidfd| self.alive() && pidfd_send_signal(&pidfd, signal).is_ok())
    }
}

/// What is read of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Which process.
    pub identity: Identity,
    /// Its parent.
    pub parent: i32,
    /// Resident pages.
    pub resident_pages: u64,
    /// A zombie, or about to vanish.
    pub dead: bool,
}

impl Stat {
    /// Reads `/proc/{pid}/stat`.
    #[must_use]
    pub fn read(pid: i32) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(pid, &text)
    }

    fn parse(pid: i32, text: &[u8]) -> Option<Self> {
        // The second field is the command's name in parentheses, and may hold blanks and parentheses itself.
        let after = text.iter().rposition(|byte| *byte == b')')? + 1;
        let rest = std::str::from_utf8(text.get(after..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        let resident_pages = fields.nth(1)?.parse().unwrap_or(0);
        Some(Self {
            identity: Identity { pid, started },
            parent,
            resident_pages,
            dead: matches!(state, "Z" | "X" | "x"),
        })
    }
}

/// All processes at one moment.
#[derive(Debug, Default)]
pub struct ProcessTable {
    by_pid: BTreeMap<i32, Stat>,
    /// Each process by its parent, sorted: one table serves the trees of thousands of runs.
    children: Vec<(i32, i32)>,
}

impl ProcessTable {
    /// Reads `/proc` once.
    #[must_use]
    pub fn read() -> Self {
        let by_pid: BTreeMap<i32, Stat> = pids()
            .filter_map(|pid| Some((pid, Stat::read(pid)?)))
            .collect();
        let pairs = by_pid.iter().map(|(pid, stat)| (stat.parent, *pid));
        let mut children: Vec<(i32, i32)> = pairs.collect();
        children.sort_unstable();
        Self { by_pid, children }
    }

    /// Every process, the dead included.
    pub fn all(&self) -> impl Iterator<Item = &Stat> {
        self.by_pid.values()
    }

    /// The descendants of `root`, itself excluded, the dead excluded.
    #[must_use]
    pub fn descendants(&self, root: i32) -> Vec<Stat> {
        self.closure(&[root])
            .into_iter()
            .filter(|stat| stat.identity.pid != root && !stat.dead)
            .collect()
    }

    /// Everything in `roots` and below. A dead process in between does not cut the walk.
    fn closure(&self, roots: &[i32]) -> Vec<Stat> {
        let mut found = BTreeMap::new();
        let mut open: Vec<i32> = roots.to_vec();
        while let Some(pid) = open.pop() {
            let Some(stat) = self.by_pid.get(&pid) else {
                continue;
            };
            if found.insert(pid, *stat).is_none() {
                let first = self.children.partition_point(|(parent, _)| *parent < pid);
                let own = self.children[first..].iter();
                let own = own.take_while(|(parent, _)| *parent == pid);
                open.extend(own.map(|(_, child)| *child));
            }
        }
        found.into_values().collect()
    }
}

/// What is known of a run's processes.
#[derive(Debug, Clone, Copy, Default)]
pub struct SweepTarget<'a> {
    /// The run's shim, where the caller is that shim: its descendants belong to the run, itself does not.
    pub shim: Option<i32>,
    /// The run's marker.
    pub marker: &'a str,
    /// The run's cgroup.
    pub cgroup: Option<&'a Path>,
    /// Processes recorded earlier.
    pub recorded: &'a [Identity],
}

impl SweepTarget<'_> {
    /// The living processes of the run.
    #[must_use]
    pub fn members(&self) -> Vec<Identity> {
        let table = ProcessTable::read();
        let known = |identity: &&Identity| {
            table
                .by_pid
                .get(&identity.pid)
                .is_some_and(|stat| stat.identity == **identity)
        };
        let mut roots: Vec<i32> = self
            .recorded
            .iter()
            .filter(known)
            .map(|identity| identity.pid)
            .collect();
        roots.extend(
            table
                .by_pid
                .keys()
                .filter(|pid| carries(**pid, self.marker)),
        );
        roots.extend(self.cgroup.map(cgroup::members).unwrap_or_default());
        roots.extend(self.shim);
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let members = table.closure(&roots).into_iter();
        members
            .filter(|stat| {
                !stat.dead && stat.identity.pid != own && Some(stat.identity.pid) != self.shim
            })
            .map(|stat| stat.identity)
            .collect()
    }

    /// Stops every member, again until no new one appears, then kills all of them: a process that forks as fast
    /// as it is killed does not escape. Returns those that were found.
    #[must_use]
    pub fn kill_round(&self) -> Vec<Identity> {
        if let Some(cgroup) = self.cgroup {
            // Without `cgroup.kill` (Linux before 5.14) the walk below does the same more slowly.
            let _unsupported = cgroup::kill(cgroup);
        }
        let mut found: Vec<Identity> = Vec::new();
        for _ in 0..PASSES_MAX {
            let new: Vec<Identity> = self
                .members()
                .into_iter()
                .filter(|one| !found.contains(one))
                .collect();
            if new.is_empty() {
                break;
            }
            for one in &new {
                let _gone = one.signal(Signal::STOP);
            }
            found.extend(new);
        }
        for one in &found {
            let _gone = one.signal(Signal::KILL);
        }
        found
    }
}

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many processes were killed.
    pub killed: usize,
    /// Those that did not die in time (uninterruptible sleep).
    pub survivors: Vec<u32>,
}

/// Kills everything of a run whose shim is gone. Blocks for at most `deadline`.
#[must_use]
pub fn sweep(target: &SweepTarget<'_>, deadline: Duration) -> Swept {
    let end = Instant::now() + deadline;
    let mut killed: Vec<Identity> = Vec::new();
    let mut empty_rounds = 0;
    loop {
        let found = target.kill_round();
        let is_empty = found.is_empty() && !target.cgroup.is_some_and(cgroup::populated);
        empty_rounds = if is_empty { empty_rounds + 1 } else { 0 };
        killed.extend(
            found
                .iter()
                .filter(|one| !killed.contains(one))
                .copied()
                .collect::<Vec<_>>(),
        );
        if empty_rounds >= EMPTY_ROUNDS || Instant::now() >= end {
            let survivors = found
                .iter()
                .filter(|one| one.alive())
                .filter_map(|one| u32::try_from(one.pid).ok());
            return Swept {
                killed: killed.len(),
                survivors: survivors.collect(),
            };
        }
        // Not our children: there is nothing to wait on but their disappearance.
        std::thread::sleep(ROUND_INTERVAL);
    }
}

/// All processes that carry this marker, dead ones excluded.
#[must_use]
pub fn marked(marker: &str) -> Vec<Identity> {
    pids()
        .filter(|pid| carries(*pid, marker))
        .filter_map(Identity::of)
        .filter(|one| one.alive())
        .collect()
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn carries(pid: i32, marker: &str) -> bool {
    if marker.is_empty() {
        return false;
    }
    let mut settled_reads = 0;
    for _ in 0..EXEC_READS {
        let Ok(environment) = environment(pid) else {
            return false;
        };
        if !environment.is_empty() {
            return environment
                .split(|byte| *byte == 0)
                .any(|entry| is_marker(entry, marker));
        }
        match emptiness(pid) {
            // The environment that was read may still have been that of the program before.
            Emptiness::Settled if settled_reads < SETTLED_READS => settled_reads += 1,
            Emptiness::Settled | Emptiness::Nothing => return false,
            Emptiness::InExec => std::thread::sleep(EXEC_READ_INTERVAL),
        }
    }
    false
}

/// What a process was started with. By a single read as far as possible: an exec between two reads ends what is read.
fn environment(pid: i32) -> std::io::Result<Vec<u8>> {
    let mut file = fs::File::open(format!("/proc/{pid}/environ"))?;
    let mut bytes = vec![0; ENVIRONMENT_BYTES];
    let length = file.read(&mut bytes)?;
    bytes.truncate(length);
    if length == ENVIRONMENT_BYTES {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn is_marker(entry: &[u8], marker: &str) -> bool {
    let value = entry
        .strip_prefix(MARKER_VARIABLE.as_bytes())
        .and_then(|rest| rest.strip_prefix(b"="));
    value == Some(marker.as_bytes())
}

/// Why an environment reads as empty.
enum Emptiness {
    /// It is dead, or a kernel thread.
    Nothing,
    /// The process has arguments: it was started without an environment, or has this moment left an exec behind.
    Settled,
    /// It is in the middle of an exec: environment and arguments both appear a moment later.
    InExec,
}

fn emptiness(pid: i32) -> Emptiness {
    let is_program = Stat::read(pid)
        .is_some_and(|stat| !stat.dead && pid != KTHREADD && stat.parent != KTHREADD);
    let arguments = fs::read(format!("/proc/{pid}/cmdline"));
    match arguments {
        Ok(arguments) if is_program && arguments.is_empty() => Emptiness::InExec,
        Ok(_) if is_program => Emptiness::Settled,
        _ => Emptiness::Nothing,
    }
}

#[cfg(test)]
mod tests;
