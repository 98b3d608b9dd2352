//! A throw-away Postgres for tests: a real server in a temporary directory, that can be stopped, frozen, made to refuse,
//! and that is gone when it is dropped.
//!
//! ```no_run
//! use router_test_postgres::Cluster;
//! # fn main() -> Result<(), router_test_postgres::ClusterError> {
//! let cluster = Cluster::start()?;
//! let database = cluster.fresh_database()?;
//! let url = cluster.url(&database); // for the program under test
//! cluster.freeze()?; // as a machine that hangs: connections stay open and nothing answers
//! cluster.thaw()?;
//! cluster.terminate_backends("godot-mcp-router")?;
//! assert_eq!(cluster.query(&database, "SELECT 1")?, "1");
//! # Ok(())
//! # }
//! ```
//!
//! The server comes from the system's package (`/usr/lib/postgresql/*/bin`) and never runs as root: a test run by root
//! runs it as `postgres`, through `setpriv`. It listens on a unix socket (always trusted: [`Cluster::query`] goes there)
//! and on a port of the loopback. It ends with the [`Cluster`], and with the process should that be killed. Every method
//! blocks; call them from a multi-threaded runtime or a plain thread.

mod cluster;
mod error;
mod process;
mod programs;

pub use cluster::{Cluster, ClusterOptions, SUPERUSER_PASSWORD};
pub use error::ClusterError;
