//! The access room's options: who may do what, and the key of session ids and links.

use std::net::SocketAddr;

use router_access::{Access, AccessSettings, TokenSettings, load_or_create_key};
use router_config::{Config, WebAddress};
use router_supervisor::DataDir;
use router_values::{Authority, SessionKey};

/// Who may do what, for a router that listens there.
pub(crate) fn settings(config: &Config, listen: SocketAddr) -> AccessSettings {
    let server = &config.server;
    // Where people reach this router is its own address, and pages under it are its own.
    let public = config.alerts.public_url.as_ref().map(WebAddress::origin);
    let public_host = public.map(|origin| Authority {
        host: origin.host().clone(),
        port: None,
    });
    let hosts = server.allowed_hosts.iter().cloned().chain(public_host);
    let origins = server.allowed_origins.iter().chain(public).cloned();
    AccessSettings {
        listen: vec![listen],
        loopback_roles: server.loopback_roles.iter().copied().collect(),
        public_metrics: server.public_metrics,
        allowed_hosts: hosts.collect(),
        allowed_origins: origins.collect(),
        tokens: config
            .tokens
            .iter()
            .map(|token| TokenSettings {
                name: token.name.clone(),
                roles: token.roles.iter().copied().collect(),
                hash: token.sha256,
                instances: token.instances.clone(),
            })
            .collect(),
    }
}

/// The rules that the router starts with.
pub(crate) fn open(config: &Config, listen: SocketAddr) -> anyhow::Result<Access> {
    Access::new(&settings(config, listen)).map_err(|errors| {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(all.join("; "))
    })
}

/// The configured key, or the one that the data directory keeps.
pub(crate) fn session_key(config: &Config, data_dir: &DataDir) -> anyhow::Result<SessionKey> {
    match &config.server.session_key {
        Some(key) => Ok(key.clone()),
        None => Ok(load_or_create_key(data_dir.path())?.key),
    }
}
