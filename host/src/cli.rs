//! The command line: what can be asked of the program.

mod alerts;
mod capacity;
mod check;
mod config_argument;
mod deliveries;
mod doctor;
mod instance;
mod instances;
mod migrate;
mod plugin;
mod remote;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::terminal::eprint;
use config_argument::ConfigArgument;

/// Supervises MCP servers and routes MCP clients to them.
#[derive(Debug, Parser)]
#[command(
    name = "godot-mcp-router",
    version,
    about,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ConfigArgument,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the router (what it does without a command, too).
    Serve(ConfigArgument),
    /// Check the configuration, and list everything that is wrong with it.
    Check(ConfigArgument),
    /// Bring the database's tables up to this version.
    Migrate(migrate::Arguments),
    /// Serve one Godot project over MCP on stdin and stdout.
    Instance(instance::Arguments),
    /// Show what this machine lets the router do, and what is in its way.
    Doctor(ConfigArgument),
    /// Show and operate the instances of a running router.
    Instances(instances::Arguments),
    /// Show the plugins of a running router, and decide about their generations.
    Plugin(plugin::Arguments),
    /// Show, explain and acknowledge the alerts of a running router, silence some, and test its sinks.
    Alerts(alerts::Arguments),
    /// Show what waits to be delivered and what could not be, and send it again.
    Deliveries(deliveries::Arguments),
    /// Show how much a running router has in use, and how much it needs.
    Capacity(capacity::Arguments),
    /// Make tokens for those who call from elsewhere.
    Token(token::Arguments),
}

/// Does what was asked.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        None => crate::serve::run(&arguments.serve.config),
        Some(Command::Serve(serve)) => crate::serve::run(&serve.config),
        Some(Command::Check(check)) => check::run(&check.config),
        Some(Command::Migrate(arguments)) => migrate::run(&arguments),
        Some(Command::Instance(arguments)) => instance::run(&arguments),
        Some(Command::Doctor(doctor)) => doctor::run(&doctor.config),
        Some(Command::Instances(arguments)) => instances::run(&arguments),
        Some(Command::Plugin(arguments)) => plugin::run(&arguments),
        Some(Command::Alerts(arguments)) => alerts::run(&arguments),
        Some(Command::Deliveries(arguments)) => deliveries::run(&arguments),
        Some(Command::Capacity(arguments)) => capacity::run(&arguments),
        Some(Command::Token(arguments)) => token::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprint(&format!("godot-mcp-router: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
