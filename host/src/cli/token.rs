//! `token new`: a token, and the lines that let it in. Only its hash is ever kept.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::print;

/// See the module.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token, and print the lines for the configuration file.
    New(New),
}

#[derive(Debug, Args)]
struct New {
    /// Who will use it; appears in the audit.
    #[arg(long, default_value = "someone")]
    name: String,
    /// What it may do: viewer, client, operator or admin. May be repeated.
    #[arg(long = "role", default_value = "viewer")]
    roles: Vec<String>,
    /// For clients: only these instances. May be repeated.
    #[arg(long = "instance")]
    instances: Vec<String>,
}
