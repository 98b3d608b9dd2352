//! `godot-mcp-instance`: the bundled MCP server as a program. `godot-mcp-router instance` executes it.
//!
//! A program of its own, so that the parser of other people's files and the MCP library are not linked into the daemon. Its stdout
//! belongs to the protocol; whatever else it has to say goes to stderr.

use std::{io, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;

/// How long unfinished work may hold up the end.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Serves one Godot project over MCP on stdin and stdout.
#[derive(Debug, Parser)]
#[command(name = "godot-mcp-instance", version, about)]
struct Arguments {
    /// The folder that holds `project.godot`.
    #[arg(long, value_name = "DIR")]
    project: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("godot-mcp-instance: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::WARN)
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let served = runtime.block_on(router_godot::serve_stdio(&arguments.project));
    runtime.shutdown_timeout(END_WITHIN);
    Ok(served?)
}

#[allow(clippy::print_stderr, reason = "the last line before the end")]
fn report(line: &str) {
    eprintln!("{line}");
}
