//! `godot-mcp-router`: one program for the daemon, the bundled instance, and the operator's commands.

mod access;
mod announce;
mod apply;
mod cli;
mod clock;
mod desk;
mod driver;
mod engine;
mod front;
mod guard;
mod keeping;
mod launch;
mod meters;
mod seal;
mod serve;
mod standing;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    cli::run(cli::Arguments::parse())
}
