//! `[server]` and `[[token]]`: where the router listens, whom it believes, and what one client may take.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use router_core::{InstanceId, Role};
use router_values::{Authority, Origin, SessionKey, TokenHash};

use crate::{
    Applies,
    reader::{ConfigSection, SecretKey},
    value::{InvalidValue, Label, PathText},
};

/// `[server]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Where the router listens. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Names besides loopback and the own addresses that `Host` may hold. With a port, only that one is allowed.
    pub allowed_hosts: Vec<Authority>,
    /// Pages of these origins may call.
    pub allowed_origins: Vec<Origin>,
    /// What callers from this machine may do without a token.
    pub loopback_roles: Vec<Role>,
    /// Whether metrics may be read by anybody, also from elsewhere.
    pub public_metrics: bool,
    /// Where the router keeps its name, its epoch, its session key and its spool. One router per directory.
    pub data_dir: PathBuf,
    /// The router's name where it is chosen by the operator and not by the router.
    pub router_id: Option<String>,
    /// What session ids are sealed with, where several routers have to agree on it. `None`: a key kept in the data directory.
    pub session_key: Option<SessionKey>,
    /// How long a session id is valid after it was given out.
    pub session_ttl: Duration,
    /// After so long without a request or a stream a session is forgotten; its id stays valid.
    pub session_idle_timeout: Duration,
    /// Sessions of one instance that are remembered at once.
    pub max_sessions: usize,
    /// Connections at once; one more is closed.
    pub max_connections: usize,
    /// Longest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// How long a connection may take to send the head of a request, and stay idle between two.
    pub head_timeout: Duration,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
}

/// `[[token]]`: a caller from elsewhere. Only the hash of what it presents is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenConfig {
    /// Who it is; appears in the audit. No two tokens share one.
    pub name: String,
    /// The hash of the token.
    pub sha256: TokenHash,
    /// What it may do; at least one.
    pub roles: Vec<Role>,
    /// The instances that it may speak MCP with; `None`: all.
    pub instances: Option<Vec<InstanceId>>,
}

/// Most tokens: each request with a token is compared with all of them.
const TOKENS_MAX: usize = 256;

/// Most MiB of one body: as much as all bodies that are being received may have together.
const BODY_MB_MAX: usize = 256;

/// Most sessions of one instance: as many as one connection to it can hold.
const SESSIONS_MAX: usize = 10_000;

impl Server {
    pub(crate) fn read(root: &ConfigSection<'_, '_>) -> Self {
        let section = root.child("server");
        let working_dir = root.reader.environment.working_dir();
        let seconds = Duration::from_secs;
        let patience = |name, default| {
            let key = section.key(name).restart();
            key.within(seconds(1), seconds(3_600)).or(seconds(default))
        };
        let server = Self {
            listen: section
                .key("listen")
                .variable("LISTEN")
                .restart()
                .or(SocketAddr::from(([127, 0, 0, 1], 3002))),
            allowed_hosts: section.key("allowed_hosts").or(Vec::new()),
            allowed_origins: section.key("allowed_origins").or(Vec::new()),
            loopback_roles: section
                .key("loopback_roles")
                .or(vec![Role::Client, Role::Operator]),
            public_metrics: section.key("public_metrics").or(false),
            data_dir: working_dir.join(
                section
                    .key("data_dir")
                    .restart()
                    .or(PathText("data".into()))
                    .0,
            ),
            router_id: section
                .key("router_id")
                .restart()
                .optional()
                .map(|Label(label)| label),
            session_key: session_key(&section),
            // An editor that stays open over the holidays.
            session_ttl: section
                .key("session_ttl")
                .restart()
                .within(seconds(60), seconds(365 * 86_400))
                .or(seconds(30 * 86_400)),
            session_idle_timeout: section
                .key("session_idle_timeout")
                .restart()
                .within(seconds(1), seconds(365 * 86_400))
                .or(seconds(1_800)),
            max_sessions: section
                .key("max_sessions")
                .restart()
                .within(1, SESSIONS_MAX)
                .or(10_000),
            max_connections: section
                .key("max_connections")
                .restart()
                .within(1, 1_000_000)
                .or(16_384),
            max_body_bytes: mebibytes(
                section
                    .key("max_body_mb")
                    .restart()
                    .within(1, BODY_MB_MAX)
                    .or(16_usize),
            ),
            // Longer than the pools of common clients keep an idle connection, so that it is the client who closes.
            head_timeout: patience("head_timeout", 120),
            body_timeout: patience("body_timeout", 30),
        };
        section.close();
        server
    }
}

fn mebibytes(count: usize) -> usize {
    count.saturating_mul(1024 * 1024)
}

fn session_key(section: &ConfigSection<'_, '_>) -> Option<SessionKey> {
    let found = section.secret(&SecretKey {
        name: "session_key",
        file_name: "session_key_file",
        variables: &[],
        default: None,
        applies: Applies::Restart,
    })?;
    SessionKey::parse(found.secret.expose())
        .map_err(|error| {
            let remedy = "make one with `openssl rand -hex 32`, or leave it out: the router then makes and keeps its own";
            let key = section.key_path("session_key");
            section
                .reader
                .fault(found.place, key, error.to_string(), remedy);
        })
        .ok()
}

impl TokenConfig {
    pub(crate) fn read_all(root: &ConfigSection<'_, '_>) -> Vec<Self> {
        let mut tokens: Vec<Self> = Vec::new();
        let sections = root.items("token");
        if let Some(first_past) = sections.get(TOKENS_MAX) {
            let what = format!(
                "there are {} [[token]] sections, allowed are {TOKENS_MAX}",
                sections.len()
            );
            let remedy = "remove those that nobody uses";
            root.reader
                .fault(first_past.place(), first_past.path(), what, remedy);
        }
        for section in sections {
            if let Some(token) = Self::read(&section) {
                token.check_unique(&section, &tokens);
                tokens.push(token);
            }
            section.close();
        }
        tokens
    }

    fn read(section: &ConfigSection<'_, '_>) -> Option<Self> {
        const HOW: &str =
            "make a token with `godot-mcp-router token new`, and copy the lines that it prints";
        let name: Option<Label> = section
            .key("name")
            .required("say who uses it: name = \"grafana\"");
        let sha256 = section.key("sha256").required(HOW);
        let roles = section
            .key("roles")
            .rule(|roles: &Vec<Role>| {
                let remedy = "name at least one: [\"viewer\"]";
                if roles.is_empty() {
                    Err(InvalidValue::new(
                        "a token without a role may do nothing",
                        remedy,
                    ))
                } else {
                    Ok(())
                }
            })
            .required("say what it may do: roles = [\"viewer\"]");
        let instances = section.key("instances").optional();
        let of_clients = roles
            .as_ref()
            .is_none_or(|roles| roles.contains(&Role::Client));
        if instances.is_some() && !of_clients {
            let remedy = "add \"client\" to roles, or remove instances";
            section.reader.fault_at(
                &section.key_path("instances"),
                "only the role client is about instances",
                remedy,
            );
        }
        Some(Self {
            name: name?.0,
            sha256: sha256?,
            roles: roles?,
            instances,
        })
    }

    /// The audit names callers by the names of their tokens.
    fn check_unique(&self, section: &ConfigSection<'_, '_>, others: &[Self]) {
        let reader = section.reader;
        if others.iter().any(|other| other.name == self.name) {
            let what = format!("another token is called {:?}", self.name);
            reader.fault_at(
                &section.key_path("name"),
                what,
                "give each its own, for the audit tells them apart by it",
            );
        }
        if others.iter().any(|other| other.sha256 == self.sha256) {
            let remedy = "remove one, or make another token with `godot-mcp-router token new`";
            reader.fault_at(
                &section.key_path("sha256"),
                "another entry has the same token",
                remedy,
            );
        }
    }
}

#[cfg(test)]
mod tests;
