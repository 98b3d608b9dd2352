//! The cgroup of one slot, where a writable cgroup v2 hierarchy is mounted (also a `unified` one beside v1).
//!
//! Killing and limiting are separate: `cgroup.kill` works in every v2 cgroup, while `memory.max` exists only where the
//! memory controller was delegated to the parent. No process of ours is ever moved; only a new child joins.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// How often, and how far apart, an emptied cgroup is tried to be removed: together a tenth of a second.
const REMOVE_TRIES: u32 = 20;
const REMOVE_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// The v2 cgroup that this process is in, if cgroups can be made and killed beneath it.
#[must_use]
pub fn usable_parent() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))?
        .trim_start_matches('/');
    mounts
        .lines()
        .filter_map(v2_mount)
        .map(|mount| mount.join(own))
        .find(|parent| works(parent))
}

/// Whether the memory controller limits what is made beneath `parent`.
#[must_use]
pub fn limits_memory(parent: &Path) -> bool {
    fs::read_to_string(parent.join("cgroup.subtree_control")).is_ok_and(|controllers| {
        controllers
            .split_ascii_whitespace()
            .any(|one| one == "memory")
    })
}

/// Makes a cgroup beneath `parent`.
///
/// # Errors
/// The kernel refused.
pub fn create(parent: &Path, name: &str, memory_bytes_max: Option<u64>) -> io::Result<PathBuf> {
    let path = parent.join(name);
    fs::create_dir(&path)?;
    if let Some(bytes) = memory_bytes_max {
        // Absent without a memory controller: then the router polls.
        let _absent = fs::write(path.join("memory.max"), bytes.to_string());
        let _absent = fs::write(path.join("memory.oom.group"), "1");
    }
    Ok(path)
}

/// Moves the calling process into a cgroup.
///
/// # Errors
/// The kernel refused.
pub fn join(cgroup: &Path) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
}

/// Sends SIGKILL to everything in a cgroup and below it.
///
/// # Errors
/// The cgroup is gone, or the kernel is older than 5.14.
pub fn kill(cgroup: &Path) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.kill"), "1")
}

/// The processes directly in a cgroup.
#[must_use]
pub fn members(cgroup: &Path) -> Vec<i32> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Whether a living process is in a cgroup or below it.
#[must_use]
pub fn populated(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join("cgroup.events"))
        .is_ok_and(|events| events.contains("populated 1"))
}

/// Removes an empty cgroup with those that its members made beneath it. What has just died may still be counted for a
/// moment, so this tries for a bounded time; what lives on keeps its cgroup.
pub fn remove(cgroup: &Path) {
    for _ in 0..REMOVE_TRIES {
        let below = fs::read_dir(cgroup).into_iter().flatten().flatten();
        for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove(&entry.path());
        }
        match fs::remove_dir(cgroup) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(REMOVE_AGAIN_AFTER);
            }
            Ok(()) | Err(_) => return,
        }
    }
}

/// The mount point of a line of `/proc/self/mountinfo` if its file system is cgroup2 (proc_pid_mountinfo(5)).
fn v2_mount(line: &str) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    let is_v2 = after.split_ascii_whitespace().next() == Some("cgroup2");
    is_v2
        .then(|| before.split_ascii_whitespace().nth(4))
        .flatten()
        .map(PathBuf::from)
}

/// Permission bits say too little (mounts can be read-only, delegation partial), so one cgroup is made and removed.
fn works(parent: &Path) -> bool {
    let probe = parent.join(format!("godot-mcp-probe-{}", std::process::id()));
    if fs::create_dir(&probe).is_err() {
        return false;
    }
    // Joining also needs write permission on the common ancestor's cgroup.procs, which is the parent's.
    let joinable =
        rustix::fs::access(parent.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok();
    let killable = probe.join("cgroup.kill").exists();
    let _left = fs::remove_dir(&probe);
    joinable && killable
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::v2_mount;

    #[test]
    fn only_version_2_mounts_are_taken() {
        let cases = [
            (
                "35 25 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw",
                Some("/sys/fs/cgroup"),
            ),
            (
                "44 30 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
                Some("/sys/fs/cgroup/unified"),
            ),
            (
                "36 25 0:31 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory",
                None,
            ),
            ("garbage", None),
        ];
        for (line, mount) in cases {
            assert_eq!(v2_mount(line).as_deref(), mount.map(Path::new), "{line}");
        }
    }
}
