//! The bundled instance: an MCP server that answers questions about one Godot 3 or 4 project folder.
//!
//! It owns everything between a project's text files and an MCP answer: confinement to the folder
//! ([`ProjectPath`] and the opened root), the readers of Godot's text formats and of GDScript, the
//! index that follows changes on disk, and the MCP tools and resources. It never runs the engine,
//! never writes to the project, never follows a path out of it, and writes nothing to stdout but
//! JSON-RPC lines (logging goes wherever the process's `tracing` subscriber sends it: the binary
//! must point that at stderr).
//!
//! What is part of a project: every file below its root, except folders and files whose name starts with
//! a dot (`.godot`, `.import`, `.git`: caches and secrets) and folders that hold a `.gdignore`, as in the
//! engine. `addons` is indexed, since dependencies lead there, but left out of searches and graphs unless
//! asked for. Symbolic links are followed only to places inside the project.
//!
//! Flow: `path` → `root` → `scan` → `facts` (through `text` and `script`) → `index` → `answer` → `server`.

mod answer;
mod facts;
mod fault;
mod index;
mod limits;
mod path;
mod root;
mod scan;
mod script;
mod server;
mod text;

pub use limits::ProjectLimits;
pub use path::{PathRefusal, ProjectPath};
pub use root::ProjectOpenError;
pub use server::{GodotServer, InstanceOptions, ServeError, serve, serve_stdio};
