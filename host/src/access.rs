//! The access room's settings, from the configuration.

use std::net::SocketAddr;

use router_access::{AccessSettings, TokenHash, TokenSettings};
use router_config::Config;

/// Who may do what, for a router that listens there.
pub(crate) fn settings(config: &Config, listen: SocketAddr) -> AccessSettings {
    AccessSettings {
        listen: vec![listen],
        loopback_roles: config.server.loopback_roles.iter().copied().collect(),
        public_metrics: config.server.public_metrics,
        allowed_hosts: config.server.allowed_hosts.clone(),
        allowed_origins: config
            .server
            .allowed_origins
            .iter()
            .map(ToString::to_string)
            .collect(),
        tokens: config
            .tokens
            .iter()
            .map(|token| TokenSettings {
                name: token.name.clone(),
                roles: token.roles.iter().copied().collect(),
                hash: TokenHash::from_bytes(token.sha256),
                instances: token.instances.clone(),
            })
            .collect(),
    }
}
