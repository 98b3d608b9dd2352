//! `instance`: the bundled MCP server. Its stdout belongs to the protocol; whatever else it has to say goes to stderr.

use std::{io, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Args;

/// How long unfinished work may hold up the end.
const END_WITHIN: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The folder that holds `project.godot`.
    #[arg(long, value_name = "DIR")]
    project: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
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
    served?;
    Ok(ExitCode::SUCCESS)
}
