//! `migrate`: the one command that changes tables, so that the role that serves need not be able to.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use router_store::{MigrateOptions, migrate};

use super::config_argument::ConfigArgument;
use crate::{
    terminal::{print, refuse},
    wiring::config,
};

/// Longest run of one migration. A large audit may take minutes to be rewritten.
const MIGRATION_WITHIN: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Also create `godot_versions`, where there is none.
    #[arg(long)]
    with_godot_versions: bool,
    /// Print what a role needs that is only to serve, and change nothing.
    #[arg(long, value_name = "ROLE")]
    print_grants: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(role) = &arguments.print_grants {
        print(&router_store::serving_grants(role));
        return Ok(ExitCode::SUCCESS);
    }
    let config = match config::read(&arguments.config.config)? {
        Ok(config) => config,
        Err(faults) => return Ok(refuse(&faults)),
    };
    let storage = &config.storage;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(migrate(MigrateOptions {
        url: storage.url.clone(),
        password: storage.password.clone(),
        with_godot_versions: arguments.with_godot_versions,
        actor: std::env::var("USER").unwrap_or_else(|_| "migrate".to_owned()),
        timeout: MIGRATION_WITHIN,
    }))?;
    match report.applied.as_slice() {
        [] => print(&format!(
            "{} is at version {} already",
            report.database, report.version
        )),
        applied => print(&format!(
            "{} is at version {} now ({} applied)",
            report.database,
            report.version,
            applied.len()
        )),
    }
    if let Some(table) = &report.created_godot_versions {
        print(&format!("created {table}"));
    }
    Ok(ExitCode::SUCCESS)
}
