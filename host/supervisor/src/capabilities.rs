//! What this machine lets us do to a process tree, for the API and `doctor`.

use std::path::{Path, PathBuf};

use godot_mcp_shim::cgroup;

/// How a tree is killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KillMethod {
    /// Through `cgroup.kill` beneath this cgroup: nothing in it escapes.
    Cgroup(PathBuf),
    /// By process group, subreaper, recorded processes and marker. A process that clears its environment and leaves
    /// its parent while its shim is being killed escapes.
    ProcessTree,
}

/// How a tree's memory is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitMethod {
    /// By the kernel, through `memory.max`.
    Cgroup,
    /// By the router, which samples resident memory and acts on it.
    Polling,
}

/// Both, since each may be there without the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// How a tree is killed.
    pub kill: KillMethod,
    /// How its memory is limited.
    pub limit: LimitMethod,
}

impl Capabilities {
    pub(crate) fn of(cgroup_parent: Option<&Path>) -> Self {
        let limits = cgroup_parent.is_some_and(cgroup::limits_memory);
        Self {
            kill: cgroup_parent.map_or(KillMethod::ProcessTree, |parent| {
                KillMethod::Cgroup(parent.to_owned())
            }),
            limit: if limits {
                LimitMethod::Cgroup
            } else {
                LimitMethod::Polling
            },
        }
    }
}

impl KillMethod {
    /// Its name in JSON.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Cgroup(_) => "cgroup",
            Self::ProcessTree => "process-tree",
        }
    }
}

impl LimitMethod {
    /// Its name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Polling => "polling",
        }
    }
}
