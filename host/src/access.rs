//! The access room's settings, from the configuration.

use std::net::SocketAddr;

use router_access::{AccessSettings, Role, Roles, TokenHash, TokenSettings};
use router_config::Config;

/// Who may do what, for a router that listens there.
pub(crate) fn settings(config: &Config, listen: SocketAddr) -> AccessSettings {
    AccessSettings {
        listen: vec![listen],
        loopback_roles: roles(&config.server.loopback_roles),
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
                roles: roles(&token.roles),
                hash: TokenHash::from_bytes(token.sha256),
                instances: token.instances.clone(),
            })
            .collect(),
    }
}

fn roles(words: &[router_config::Role]) -> Roles {
    let roles: Vec<Role> = words
        .iter()
        .map(|word| match word {
            router_config::Role::Viewer => Role::Viewer,
            router_config::Role::Client => Role::Client,
            router_config::Role::Operator => Role::Operator,
            router_config::Role::Admin => Role::Admin,
        })
        .collect();
    Roles::of(&roles)
}
