//! `plugin`: the plugins of a running router, why some of them do not serve, and what operators decide about their generations.

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
    /// Put the generation in force that is held, whatever it takes away.
    Confirm { name: String },
    /// Do not take the generation that is held, or return to the one before that in force.
    Reject { name: String },
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let remote = &arguments.remote;
    match &arguments.command {
        Command::List => list(remote)?,
        Command::Show { name } => {
            let plugin = remote.json(Method::GET, &api_path(&["plugins", name])?)?;
            print(&serde_json::to_string_pretty(&plugin)?);
        }
        Command::Reload => {
            let report = remote.json(Method::POST, "/api/plugins/reload")?;
            print(&serde_json::to_string_pretty(&report)?);
        }
        Command::Confirm { name } => decide(remote, name, "confirm")?,
        Command::Reject { name } => decide(remote, name, "reject")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn decide(remote: &Remote, name: &str, verb: &str) -> anyhow::Result<()> {
    let answer = remote.json(Method::POST, &api_path(&["plugins", name, verb])?)?;
    print(&cell(member(&answer, "done")?));
    Ok(())
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
    let plugins = member(&plugins, "plugins")?.as_array();
    let plugins: Vec<&Value> = plugins.into_iter().flatten().collect();
    for one in &plugins {
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
    let reasons: Vec<String> = plugins.iter().flat_map(|one| reasons(one)).collect();
    if !reasons.is_empty() {
        print(&format!("\n{}", reasons.join("\n")));
    }
    Ok(())
}

/// Why a plugin does not serve, and why its newest file or settings were refused. Too long for a table.
fn reasons(plugin: &Value) -> Vec<String> {
    let (name, state) = (cell(&plugin["name"]), cell(&plugin["state"]));
    let candidate = &plugin["candidate"];
    let refused = candidate["reason"].as_str();
    let reason = plugin["reason"].as_str();
    let reason = reason.filter(|reason| refused != Some(reason));
    let state = reason.map(|reason| format!("{name} is {state}: {reason}"));
    let refused = refused.map(|reason| {
        let goes_on = match plugin["generation"].as_u64() {
            Some(0) | None => "nothing serves".to_owned(),
            Some(generation) => format!("generation {generation} goes on"),
        };
        let code = cell(&candidate["code"]);
        format!("{name} was refused ({code}), {goes_on}: {reason}")
    });
    let trial = &plugin["trial"];
    let held = (trial["state"] == "held").then(|| {
        format!(
            "{name}: generation {} is held, for {}: see `plugin show {name}`, then `plugin confirm {name}` or `plugin reject {name}`",
            cell(&trial["generation"]),
            cell(&trial["reason"])
        )
    });
    let state = state.filter(|_| plugin["state"] != "held");
    state.into_iter().chain(refused).chain(held).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_list_says_why_a_plugin_does_not_serve_or_was_refused() {
        let candidate = json!({"code": "damaged", "reason": "it is cut off"});
        for (plugin, expected) in [
            (
                json!({"name": "p", "state": "serving", "generation": 1, "reason": null, "candidate": null}),
                &[][..],
            ),
            (
                json!({"name": "p", "state": "missing", "generation": 0, "reason": "no p.wasm"}),
                &["p is missing: no p.wasm"],
            ),
            (
                json!({"name": "p", "state": "refused", "generation": 0, "reason": "it is cut off", "candidate": candidate}),
                &["p was refused (damaged), nothing serves: it is cut off"],
            ),
            (
                json!({"name": "p", "state": "quarantined", "generation": 3, "reason": "it trapped", "candidate": candidate}),
                &[
                    "p is quarantined: it trapped",
                    "p was refused (damaged), generation 3 goes on: it is cut off",
                ],
            ),
            (
                json!({"name": "p", "state": "held", "generation": 0, "reason": "it would recycle all",
                    "trial": {"generation": 2, "state": "held", "reason": "it would recycle all"}}),
                &[
                    "p: generation 2 is held, for it would recycle all: see `plugin show p`, then `plugin confirm p` or `plugin reject p`",
                ],
            ),
        ] {
            assert_eq!(super::reasons(&plugin), expected, "{plugin}");
        }
    }
}
