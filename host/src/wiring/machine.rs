//! What the machine gives the fleet: memory and processors, read for the capacity policy.
//!
//! Where the router runs in a control group with less memory than the machine, that is what there is.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use router_core::{
    capacity::{LoadHistory, LoadMeasure},
    event::{Event, FleetEvent},
};
use router_store::Store;
use router_values::unix_ms_now;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};

/// How often it is read: twice as often as the policy is asked, so that what it reckons from is never older than a minute.
const INTERVAL: Duration = Duration::from_secs(30);

/// How long the history may take to be read at the start. A plan from too little of it would hold for a minute; without a database
/// there is one all the same.
const HISTORY_WITHIN: Duration = Duration::from_secs(5);

/// Reports what was measured, until the driver ends.
pub(crate) async fn watch(store: Store, events: mpsc::Sender<Event>) {
    let _ = timeout(HISTORY_WITHIN, store.load_history_read()).await;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let measure = Box::new(measure(store.load_history()));
        let event = FleetEvent::LoadMeasured(measure);
        if events.send(event.into()).await.is_err() {
            return;
        }
    }
}

fn measure(history: LoadHistory) -> LoadMeasure {
    let memory = memory(Path::new("/proc"), Path::new("/sys/fs/cgroup"));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    LoadMeasure {
        unix_ms: unix_ms_now(),
        memory_total_bytes: memory.total_bytes,
        memory_free_bytes: memory.free_bytes,
        processors: u32::try_from(processors).unwrap_or(u32::MAX),
        history: Arc::new(history),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Memory {
    total_bytes: u64,
    free_bytes: u64,
}

impl Memory {
    /// What there is where both bound it.
    fn within(self, other: Self) -> Self {
        Self {
            total_bytes: self.total_bytes.min(other.total_bytes),
            free_bytes: self.free_bytes.min(other.free_bytes),
        }
    }
}

/// The machine's memory, or what the control groups leave of it. These files are the kernel's own: reading them waits for nothing.
fn memory(proc: &Path, cgroup: &Path) -> Memory {
    let machine = machine(proc).unwrap_or_default();
    let groups = groups(proc, cgroup);
    groups.into_iter().fold(machine, Memory::within)
}

fn machine(proc: &Path) -> Option<Memory> {
    let text = fs::read_to_string(proc.join("meminfo")).ok()?;
    let kib = |name: &str| field(&text, name);
    Some(Memory {
        total_bytes: kib("MemTotal:")?.saturating_mul(1024),
        free_bytes: kib("MemAvailable:")?.saturating_mul(1024),
    })
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The bound of each control group that the router is in.
fn groups(proc: &Path, root: &Path) -> Vec<Memory> {
    let text = fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
    let mut bounds = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (mount, names) = match controllers {
            "" => (root.to_owned(), &V2),
            _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), &V1),
            _ => continue,
        };
        // Seen from within a container the path may lie outside of what is mounted: then only the mounted root can be read.
        let inner = mount.join(path.trim_start_matches('/'));
        let groups = inner.ancestors().take_while(|dir| dir.starts_with(&mount));
        bounds.extend(groups.filter_map(|dir| names.bound(dir)));
    }
    bounds
}

/// What the files of a version of control groups are called.
struct Names {
    most: &'static str,
    current: &'static str,
    /// Cached files, which make way.
    cached: &'static str,
}

const V2: Names = Names {
    most: "memory.max",
    current: "memory.current",
    cached: "inactive_file ",
};

const V1: Names = Names {
    most: "memory.limit_in_bytes",
    current: "memory.usage_in_bytes",
    cached: "total_inactive_file ",
};

impl Names {
    /// The bound of one group; `None` where it has none.
    fn bound(&self, dir: &Path) -> Option<Memory> {
        let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let total_bytes = number(dir.join(self.most))?;
        let current = number(dir.join(self.current)).unwrap_or(0);
        let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
        let used = current.saturating_sub(field(&stat, self.cached).unwrap_or(0));
        Some(Memory {
            total_bytes,
            free_bytes: total_bytes.saturating_sub(used),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{Memory, measure, memory};

    fn write(dir: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn the_tightest_of_machine_and_groups_counts() {
        let check = |files: &[(&str, &str)], total_bytes, free_bytes| {
            let dir = tempfile::tempdir().unwrap();
            write(
                dir.path(),
                &[("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable:  600 kB\n")],
            );
            write(dir.path(), files);
            let is = memory(&dir.path().join("proc"), &dir.path().join("cg"));
            let must = Memory {
                total_bytes,
                free_bytes,
            };
            assert_eq!(is, must, "{files:?}");
        };
        check(&[], 1_024_000, 614_400);
        let unbounded = [
            ("proc/self/cgroup", "0::/a/b\n"),
            ("cg/a/b/memory.max", "max\n"),
        ];
        check(&unbounded, 1_024_000, 614_400);
        let second = [
            ("proc/self/cgroup", "0::/a/b\n"),
            ("cg/a/memory.max", "500000\n"),
            ("cg/a/memory.current", "300000\n"),
            ("cg/a/memory.stat", "anon 1\ninactive_file 100000\n"),
            ("cg/a/b/memory.max", "max\n"),
        ];
        check(&second, 500_000, 300_000);
        let first = [
            ("proc/self/cgroup", "4:cpu,memory:/x\n0::/\n"),
            ("cg/memory/x/memory.limit_in_bytes", "400000\n"),
            ("cg/memory/x/memory.usage_in_bytes", "500000\n"),
        ];
        check(&first, 400_000, 0);
    }

    #[test]
    fn this_machine_has_memory_and_processors() {
        let measure = measure(router_core::capacity::LoadHistory::default());
        assert!(measure.memory_total_bytes > 1 << 20, "{measure:?}");
        assert!(measure.memory_free_bytes <= measure.memory_total_bytes);
        assert!(measure.processors > 0 && measure.unix_ms > 1_700_000_000_000);
    }
}
