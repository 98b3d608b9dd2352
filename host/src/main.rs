//! `godot-mcp-router`: one program for the daemon, the bundled instance, and the operator's commands.

mod alerting;
mod announcer;
mod applier;
mod auth_layer;
mod cli;
mod clock;
mod definitions;
mod driver;
mod driver_handle;
mod error_chain;
mod evidence;
mod front;
mod instance_plan;
mod meters;
mod operation_errors;
mod operator_api;
mod policies_in_use;
mod recovery_snapshot;
mod revoked_sessions;
mod serve;
mod terminal;
mod webhook_refusals;
mod wiring;

use std::process::ExitCode;

use clap::Parser as _;

/// Gives memory back after a flood. With the system's allocator, ten thousand connections that had sent nothing left 75 MiB
/// behind, and four such floods 120 MiB; with this one 13 MiB, and no more after the fourth.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run(cli::Arguments::parse())
}
