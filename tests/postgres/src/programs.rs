//! The programs of the installed Postgres, and how one is run to its end.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::error::{ClusterError, io_error};

/// The newest installed server.
pub(crate) fn find_bin() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("initdb").exists().then_some((version, bin))
        })
        .collect();
    found.sort_unstable();
    found.pop().map(|(_, bin)| bin)
}

/// Runs SQL. What it printed: rows as lines, fields apart by `|`.
pub(crate) fn psql(bin: &Path, url: &str, sql: &str) -> Result<String, ClusterError> {
    let mut psql = Command::new(bin.join("psql"));
    psql.args([
        "-X",
        "-q",
        "-A",
        "-t",
        "-v",
        "ON_ERROR_STOP=1",
        "-d",
        url,
        "-c",
        sql,
    ])
    .env("PGCONNECT_TIMEOUT", "10")
    .env("LC_ALL", "C");
    run(psql, "psql")
}

/// Runs a program to its end. What it printed.
pub(crate) fn run(mut command: Command, what: &str) -> Result<String, ClusterError> {
    let output = command.output().map_err(io_error(what))?;
    let printed = String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(ClusterError::Failed {
        what: what.to_owned(),
        output: format!("{printed}\n{errors}").trim().to_owned(),
    })
}
