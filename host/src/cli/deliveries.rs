//! `deliveries`: what waits to be delivered, and what could not be.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::remote::{Remote, api_path, cell, member, table};
use crate::terminal::print;

/// See the module.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what waits and the dead letters (what it does without a command, too).
    List,
    /// Send one again, and try its sink at once.
    Retry { id: String },
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let remote = &arguments.remote;
    match arguments.command.as_ref().unwrap_or(&Command::List) {
        Command::List => list(remote)?,
        Command::Retry { id } => {
            remote.json(Method::POST, &api_path(&["deliveries", id, "retry"])?)?;
            print(&format!("{id} is sent again"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a delivery waits for, and until when.
pub(super) fn waiting_for(delivery: &Value) -> String {
    let held = &delivery["held"];
    match (held["by"].as_str(), held["until"].as_str()) {
        (Some(by), Some(until)) => format!("held until {until}: {by}"),
        (Some(by), None) => format!("held: {by}"),
        (None, _) => format!("next attempt at {}", cell(&delivery["nextAttempt"])),
    }
}

fn list(remote: &Remote) -> anyhow::Result<()> {
    let answer = remote.json(Method::GET, "/api/deliveries")?;
    let head = [
        "ID", "SINK", "SEVERITY", "OCCASION", "STATE", "ATTEMPTS", "REASON",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (list, is_dead) in [("waiting", false), ("deadLetters", true)] {
        for one in member(&answer, list)?.as_array().into_iter().flatten() {
            let state = if is_dead {
                "dead letter".to_owned()
            } else {
                waiting_for(one)
            };
            let reason = if is_dead {
                &one["reason"]
            } else {
                &one["lastFailure"]
            };
            rows.push(vec![
                cell(&one["id"]),
                cell(&one["sink"]),
                cell(&one["severity"]),
                cell(&one["occasion"]),
                state,
                cell(&one["attempts"]),
                cell(reason),
            ]);
        }
    }
    print(&table(&rows));
    Ok(())
}
