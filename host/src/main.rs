//! `godot-mcp-router`: one program for the daemon, the bundled instance, and the operator's commands.

mod cli;
mod clock;
mod driver;
mod front;
mod guard;
mod launch;
mod standing;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    cli::run(cli::Arguments::parse())
}
