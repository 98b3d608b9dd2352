//! The router's side of the shims: it launches them, adopts those of an earlier life of the router, stops them, sweeps
//! after a lost one, samples memory, and reads instance logs.
//!
//! It decides nothing: when to start, stop or restart is the core's business, and the conversation with the instances is the
//! upstream's. Every call returns at once; what happens arrives as a [`SupervisorEvent`].

mod adoption;
mod blob;
mod capabilities;
mod cells;
mod config;
mod context;
mod control;
mod data_dir;
mod event;
mod launch;
mod logs;
mod memory;
mod shim_process;
mod slot;
mod slot_lock;
mod slots;
mod supervisor;
mod sweep;

pub use capabilities::{Capabilities, KillMethod, LimitMethod};
pub use config::SupervisorConfig;
pub use data_dir::{DataDir, DataDirError};
pub use event::{Adoption, ExitCause, InstanceIo, ProcessExit, SlotExit, SupervisorEvent};
pub use godot_mcp_shim::paths::{SlotPaths, SocketPathTooLong};
pub use launch::{LaunchSpec, OnRouterExit, Transport};
pub use logs::LogTailError;
pub use supervisor::{Supervisor, SupervisorError};
