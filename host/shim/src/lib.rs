//! What a shim and a router share: the control protocol with descriptor passing, the names of a slot's files, the
//! slot's lock with its record, and the process tree.
//!
//! The binary of this package, `godot-mcp-shim`, owns one slot: its lock, its socket, its process tree. It outlives
//! the router. Nothing in this library starts a thread, waits on a clock of its own, or needs an async runtime.

pub mod cgroup;
pub mod paths;
pub mod protocol;
pub mod record;
pub mod tree;
pub mod wire;
