//! `instances`: what an operator does with `curl`, in fewer letters.

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
    /// List all instances (what it does without a command, too).
    List,
    /// Show everything about one.
    Show { id: String },
    /// Run one, also when it was stopped.
    Start { id: String },
    /// Stop one until somebody starts it.
    Stop { id: String },
    /// Stop one and run it again, past every limiter.
    Restart { id: String },
    /// Forget its failures, crash evidence, tool baseline and breaker.
    Clear { id: String },
    /// Print the end of what it wrote to stderr.
    Logs {
        id: String,
        /// How many lines.
        #[arg(long, default_value_t = 100)]
        tail: usize,
    },
    /// Show how its last runs failed.
    Crashes { id: String },
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let remote = &arguments.remote;
    let show = |method: Method, path: &str| {
        let value = remote.json(method, path)?;
        print(&serde_json::to_string_pretty(&value)?);
        anyhow::Ok(())
    };
    match arguments.command.as_ref().unwrap_or(&Command::List) {
        Command::List => list(remote)?,
        Command::Show { id } => show(Method::GET, &api_path(&["instances", id])?)?,
        Command::Start { id } => show(Method::POST, &api_path(&["instances", id, "start"])?)?,
        Command::Stop { id } => show(Method::POST, &api_path(&["instances", id, "stop"])?)?,
        Command::Restart { id } => show(Method::POST, &api_path(&["instances", id, "restart"])?)?,
        Command::Clear { id } => show(Method::DELETE, &api_path(&["instances", id, "state"])?)?,
        Command::Crashes { id } => show(Method::GET, &api_path(&["instances", id, "crashes"])?)?,
        Command::Logs { id, tail } => {
            let path = format!("{}?tail={tail}", api_path(&["instances", id, "logs"])?);
            print(remote.text(Method::GET, &path)?.trim_end());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(remote: &Remote) -> anyhow::Result<()> {
    let mut rows = vec![
        [
            "ID", "STATUS", "BREAKER", "PID", "RESTARTS", "MEMORY", "REASON",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut after: Option<String> = None;
    loop {
        let from = after
            .as_ref()
            .map_or_else(String::new, |id| format!("&after={id}"));
        let page = remote.json(Method::GET, &format!("/api/instances?limit=1000{from}"))?;
        for one in member(&page, "instances")?.as_array().into_iter().flatten() {
            let memory = one["memoryMb"].as_f64();
            rows.push(vec![
                cell(&one["versionId"]),
                cell(&one["status"]),
                cell(&one["circuitBreakerState"]),
                cell(&one["pid"]),
                cell(&one["restarts"]),
                memory.map_or_else(|| "-".to_owned(), |mb| format!("{mb} MB")),
                cell(&one["reason"]),
            ]);
        }
        match page.get("next") {
            Some(Value::String(id)) => after = Some(id.clone()),
            _ => break,
        }
    }
    print(&table(&rows));
    Ok(())
}
