//! The command line: what can be asked of the program, and the exit codes it answers with (sysexits.h).

mod check;
mod doctor;
mod instance;
mod instances;
mod migrate;
mod plugin;
mod remote;
mod token;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

/// Every file, flag and variable is fine, or not: `EX_USAGE`.
pub(crate) const EXIT_CONFIG: u8 = 64;
/// Something that is needed is not there: `EX_UNAVAILABLE`.
pub(crate) const EXIT_UNAVAILABLE: u8 = 69;

/// Where the configuration is, unless told.
const CONFIG_DEFAULT: &str = "config/router.toml";

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

/// Which configuration file.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgument {
    /// The configuration file.
    #[arg(long, default_value = CONFIG_DEFAULT, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the router (what it does without a command, too).
    Serve(ConfigArgument),
    /// Check the configuration, and say everything that is wrong with it.
    Check(ConfigArgument),
    /// Bring the database's tables up to this version.
    Migrate(migrate::Arguments),
    /// Serve one Godot project over MCP on stdin and stdout.
    Instance(instance::Arguments),
    /// Say what this machine lets the router do, and what is in its way.
    Doctor(ConfigArgument),
    /// Show and operate the instances of a running router.
    Instances(instances::Arguments),
    /// Show the plugins of a running router.
    Plugin(plugin::Arguments),
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

/// Says everything that is wrong with a configuration.
pub(crate) fn refuse(faults: &router_config::Faults) -> ExitCode {
    eprint(&faults.to_string());
    let count = faults.faults.len();
    let noun = if count == 1 { "fault" } else { "faults" };
    eprint(&format!(
        "godot-mcp-router: {count} {noun} in the configuration"
    ));
    ExitCode::from(EXIT_CONFIG)
}

/// A line for whoever called the program.
#[allow(clippy::print_stdout, reason = "this is what the commands are for")]
pub(crate) fn print(line: &str) {
    println!("{line}");
}

/// A line about why something is not as it should be.
#[allow(
    clippy::print_stderr,
    reason = "logging does not run yet, or never will"
)]
pub(crate) fn eprint(line: &str) {
    eprintln!("{line}");
}
