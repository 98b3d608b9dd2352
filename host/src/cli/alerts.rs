//! `alerts`: what fires and why, who was notified of it, and what somebody does about it.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    deliveries::waiting_for,
    remote::{Remote, api_path, cell, member, table},
};
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
    /// List alerts (what it does without a command, too): open ones, or all.
    List {
        /// Also those that are over.
        #[arg(long)]
        all: bool,
    },
    /// Show everything about one.
    Show { id: String },
    /// Tell in sentences what happened to one, who was notified of it, and why others were not.
    Explain { id: String },
    /// Say who would be notified of such an alert.
    Route {
        /// P1, P2, P3 or P4.
        #[arg(long)]
        severity: String,
        /// The name of the alert.
        #[arg(long, default_value = "")]
        name: String,
        /// The instance that it is about.
        #[arg(long)]
        instance: Option<String>,
    },
    /// Acknowledge one: you are on it.
    Ack { id: String },
    /// Take an acknowledgement back.
    Unack { id: String },
    /// Close one by hand.
    Resolve { id: String },
    /// Mute alerts for some time; with --preview only show which.
    Silence(SilenceArguments),
    /// List silences.
    Silences,
    /// End a silence.
    Unsilence { id: u64 },
    /// Send a marked test through the sinks, and say in a line for each whether it arrived.
    Test {
        /// Through this sink alone.
        #[arg(long)]
        sink: Option<String>,
        /// The way of an alert of this severity.
        #[arg(long, default_value = "P4")]
        severity: String,
    },
}

#[derive(Debug, Args)]
struct SilenceArguments {
    /// Alerts of this name; `*` stands for any characters. May be given more than once, as the others.
    #[arg(long)]
    name: Vec<String>,
    /// Alerts about this instance.
    #[arg(long)]
    instance: Vec<String>,
    /// Alerts of this severity.
    #[arg(long)]
    severity: Vec<String>,
    /// Alerts with this key.
    #[arg(long)]
    key: Vec<String>,
    /// For how long: 30m, 2h, 3d.
    #[arg(long = "for")]
    lasts: String,
    /// Why.
    #[arg(long)]
    reason: String,
    /// Only show what it would mute now.
    #[arg(long)]
    preview: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let remote = &arguments.remote;
    let default = Command::List { all: false };
    match arguments.command.as_ref().unwrap_or(&default) {
        Command::List { all } => list(remote, *all)?,
        Command::Show { id } => {
            let alert = remote.json(Method::GET, &api_path(&["alerts", id])?)?;
            print(&serde_json::to_string_pretty(&alert)?);
        }
        Command::Explain { id } => {
            print(&explanation(
                &remote.json(Method::GET, &api_path(&["alerts", id])?)?,
            ));
        }
        Command::Route {
            severity,
            name,
            instance,
        } => {
            route(remote, severity, name, instance.as_deref())?;
        }
        Command::Ack { id } => operate(remote, id, "ack")?,
        Command::Unack { id } => operate(remote, id, "unack")?,
        Command::Resolve { id } => operate(remote, id, "resolve")?,
        Command::Silence(silence) => self::silence(remote, silence)?,
        Command::Silences => silences(remote)?,
        Command::Unsilence { id } => {
            remote.json(Method::DELETE, &format!("/api/silences/{id}"))?;
            print(&format!("silence {id} has ended"));
        }
        Command::Test { sink, severity } => return test(remote, sink.as_deref(), severity),
    }
    Ok(ExitCode::SUCCESS)
}

fn list(remote: &Remote, all: bool) -> anyhow::Result<()> {
    let state = if all { "all" } else { "open" };
    let answer = remote.json(
        Method::GET,
        &format!("/api/alerts?state={state}&limit=1000"),
    )?;
    let alerts = member(&answer, "alerts")?.as_array();
    let alerts: Vec<&Value> = alerts.into_iter().flatten().collect();
    if alerts.is_empty() {
        print(if all {
            "there were no alerts"
        } else {
            "no alert is open"
        });
        return Ok(());
    }
    print(&rows(&alerts));
    Ok(())
}

fn rows(alerts: &[&Value]) -> String {
    let head = [
        "ID", "SEVERITY", "STATE", "SINCE", "NAME", "INSTANCE", "SUMMARY",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for one in alerts {
        let mut state = cell(&one["state"]);
        for mark in ["stale", "flapping", "overdue"] {
            if one[mark] == true {
                state.push_str(", ");
                state.push_str(mark);
            }
        }
        if let Some(by) = one["muted"]["by"].as_str() {
            state.push_str(", muted by ");
            state.push_str(by);
        }
        rows.push(vec![
            cell(&one["id"]),
            cell(&one["severity"]),
            state,
            cell(&one["since"]),
            cell(&one["name"]),
            cell(&one["versionId"]),
            cell(&one["summary"]),
        ]);
    }
    table(&rows)
}

/// The story of an alert, and what can be done.
fn explanation(alert: &Value) -> String {
    let mut lines = vec![
        format!(
            "{} {}: {}",
            cell(&alert["severity"]),
            cell(&alert["name"]),
            cell(&alert["summary"])
        ),
        format!("{}, since {}", cell(&alert["state"]), cell(&alert["since"])),
        format!("what to do: {}", cell(&alert["remedy"])),
        String::new(),
    ];
    for entry in alert["story"].as_array().into_iter().flatten() {
        lines.push(format!("{}  {}", cell(&entry["at"]), cell(&entry["what"])));
    }
    lines.extend(deliveries(&alert["deliveries"]));
    if let Some(next) = alert["nextEscalation"].as_str() {
        lines.push(format!(
            "{next}  the next step of its escalation, if nobody acknowledges it"
        ));
    }
    lines.join("\n")
}

/// What waits to be delivered about an alert, and what was given up, each with what its receiver answered.
fn deliveries(all: &Value) -> impl Iterator<Item = String> {
    let list = |name: &str| all[name].as_array().into_iter().flatten();
    let waiting = list("waiting").map(|one| {
        let state = waiting_for(one);
        format!(
            "waits, {state}; the last attempt: {}",
            cell(&one["lastFailure"])
        )
    });
    let dead = list("deadLetters").map(|one| format!("was given up: {}", cell(&one["reason"])));
    let all: Vec<(&Value, String)> = list("waiting")
        .zip(waiting)
        .chain(list("deadLetters").zip(dead))
        .collect();
    all.into_iter().map(|(one, state)| {
        format!(
            "delivery {} to {} after {} attempt(s) {state}",
            cell(&one["id"]),
            cell(&one["sink"]),
            cell(&one["attempts"])
        )
    })
}

fn operate(remote: &Remote, id: &str, verb: &str) -> anyhow::Result<()> {
    let alert = remote.json(Method::POST, &api_path(&["alerts", id, verb])?)?;
    print(&format!(
        "{} is {}",
        cell(&alert["name"]),
        cell(&alert["state"])
    ));
    Ok(())
}

fn route(
    remote: &Remote,
    severity: &str,
    name: &str,
    instance: Option<&str>,
) -> anyhow::Result<()> {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut path = format!(
        "/api/alerts/route?severity={}&name={}",
        encoded(severity),
        encoded(name)
    );
    if let Some(instance) = instance {
        path.push_str("&instance=");
        path.push_str(&encoded(instance));
    }
    let routing = remote.json(Method::GET, &path)?;
    let sinks: Vec<&Value> = routing["sinks"].as_array().into_iter().flatten().collect();
    if sinks.is_empty() {
        print("nobody is notified of such an alert: no route takes it");
    }
    for one in sinks {
        print(&format!(
            "{} by route {}",
            cell(&one["sink"]),
            cell(&one["route"])
        ));
    }
    if let Some(chain) = routing["escalation"]["chain"].as_str() {
        print(&format!("escalates by {chain}"));
    }
    Ok(())
}

fn silence(remote: &Remote, new: &SilenceArguments) -> anyhow::Result<()> {
    let lists = [
        ("name", &new.name),
        ("instance", &new.instance),
        ("severity", &new.severity),
        ("key", &new.key),
    ];
    let matcher: Map<String, Value> = lists
        .into_iter()
        .filter(|(_, texts)| !texts.is_empty())
        .map(|(list, texts)| (list.to_owned(), json!(texts)))
        .collect();
    let body = json!({ "matcher": matcher, "for": new.lasts, "reason": new.reason });
    if new.preview {
        let answer = remote.send(Method::POST, "/api/silences?preview=true", &body)?;
        let muted = member(&answer, "wouldMute")?.as_array();
        let muted: Vec<&Value> = muted.into_iter().flatten().collect();
        print(&match muted.as_slice() {
            [] => "it would mute no alert that is open now".to_owned(),
            muted => rows(muted),
        });
        return Ok(());
    }
    let made = remote.send(Method::POST, "/api/silences", &body)?;
    print(&format!(
        "silence {} until {}",
        cell(&made["id"]),
        cell(&made["until"])
    ));
    Ok(())
}

fn silences(remote: &Remote) -> anyhow::Result<()> {
    let answer = remote.json(Method::GET, "/api/silences")?;
    let head = ["ID", "UNTIL", "AUTHOR", "REASON", "MATCHER"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for one in member(&answer, "silences")?
        .as_array()
        .into_iter()
        .flatten()
    {
        rows.push(
            ["id", "until", "author", "reason", "matcher"]
                .map(|name| cell(&one[name]))
                .to_vec(),
        );
    }
    print(&table(&rows));
    Ok(())
}

fn test(remote: &Remote, sink: Option<&str>, severity: &str) -> anyhow::Result<ExitCode> {
    let body = json!({ "sink": sink, "severity": severity });
    let answer = remote.send(Method::POST, "/api/alerts/test", &body)?;
    let mut code = ExitCode::SUCCESS;
    for one in member(&answer, "results")?.as_array().into_iter().flatten() {
        let sink = cell(&one["sink"]);
        if one["delivered"] == true {
            print(&format!("{sink}: arrived"));
        } else {
            code = ExitCode::FAILURE;
            print(&format!("{sink}: did not arrive: {}", cell(&one["reason"])));
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn an_explanation_tells_the_story_and_the_remedy() {
        let alert = json!({
            "severity": "P2", "name": "CrashLoop", "summary": "demo is in crash loop", "state": "firing",
            "since": "2026-11-30T10:00:00.000Z", "remedy": "read its log", "nextEscalation": "2026-11-30T10:15:00.000Z",
            "story": [{"at": "2026-11-30T10:00:00.000Z", "what": "fires as P2, for the first time"}],
            "deliveries": {
                "waiting": [{"id": "d-1", "sink": "chat", "attempts": 2, "lastFailure": "it answered 503: down",
                    "nextAttempt": "2026-11-30T10:05:00.000Z", "held": null}],
                "deadLetters": [{"id": "d-2", "sink": "pager", "attempts": 1, "reason": "it answered 400: no"}],
            },
        });
        let text = super::explanation(&alert);
        for part in [
            "P2 CrashLoop: demo is in crash loop",
            "what to do: read its log",
            "fires as P2",
            "10:15",
            "delivery d-1 to chat after 2 attempt(s) waits, next attempt at 2026-11-30T10:05:00.000Z; the last attempt: it answered 503: down",
            "delivery d-2 to pager after 1 attempt(s) was given up: it answered 400: no",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
