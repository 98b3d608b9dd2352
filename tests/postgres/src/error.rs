//! What can go wrong with a throw-away server.

use std::io;

/// Why the server did not do what a test asked of it.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no Postgres to run.
    #[error(
        "no Postgres was found in /usr/lib/postgresql/*/bin: install it with `apt-get install postgresql`"
    )]
    NotInstalled,
    /// A program could not be run, or a file not be written.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// A program failed.
    #[error("{what} failed: {output}")]
    Failed {
        /// Which.
        what: String,
        /// What it wrote.
        output: String,
    },
    /// The server did not get there in time.
    #[error("the server was not {what} in time; its last lines: {log}")]
    Late {
        /// What was waited for.
        what: &'static str,
        /// The end of its log.
        log: String,
    },
}

/// Says what was tried when the system refused.
pub(crate) fn io_error(what: &str) -> impl FnOnce(io::Error) -> ClusterError {
    let what = what.to_owned();
    move |error| ClusterError::Io { what, error }
}
