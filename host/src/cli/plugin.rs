//! `plugin list`: the plugins of a running router.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;

use super::remote::{Remote, cell, member, table};
use crate::terminal::print;

/// See the module.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all plugins.
    List,
    /// Show everything about one.
    Show { name: String },
    /// Scan the plugins directory now.
    Reload,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let remote = &arguments.remote;
    match &arguments.command {
        Command::List => list(remote)?,
        Command::Show { name } => {
            let plugin = remote.json(Method::GET, &format!("/api/plugins/{name}"))?;
            print(&serde_json::to_string_pretty(&plugin)?);
        }
        Command::Reload => {
            let report = remote.json(Method::POST, "/api/plugins/reload")?;
            print(&serde_json::to_string_pretty(&report)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(remote: &Remote) -> anyhow::Result<()> {
    let plugins = remote.json(Method::GET, "/api/plugins")?;
    let mut rows = vec![
        [
            "NAME",
            "WORLD",
            "STATE",
            "GENERATION",
            "CALLS",
            "FAILURES",
            "LAST ERROR",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for one in member(&plugins, "plugins")?
        .as_array()
        .into_iter()
        .flatten()
    {
        let names = [
            "name",
            "world",
            "state",
            "generation",
            "calls",
            "failures",
            "lastError",
        ];
        rows.push(names.map(|name| cell(&one[name])).to_vec());
    }
    print(&table(&rows));
    Ok(())
}
