//! The settings of access, as rules that are fast to apply. What the configuration says about tokens, hosts and origins comes
//! checked; checked here is only what depends on where the router really listens.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use router_core::{InstanceId, Role};
use router_values::{Authority, Host, Origin, TokenHash, is_reachable};

use crate::role::Roles;

/// The settings, as the configuration holds them.
#[derive(Debug, Clone)]
pub struct AccessSettings {
    /// The addresses that the router listens on.
    pub listen: Vec<SocketAddr>,
    /// What a caller on this machine may do without a token.
    pub loopback_roles: Roles,
    /// Whether the metrics are open to all.
    pub public_metrics: bool,
    /// Names under which the router is reached, each with or without a port; without one, any port will do.
    pub allowed_hosts: Vec<Authority>,
    /// Origins of pages that may call the router, beside its own.
    pub allowed_origins: Vec<Origin>,
    /// The tokens.
    pub tokens: Vec<TokenSettings>,
}

/// Loopback is client and operator, nothing else is open.
impl Default for AccessSettings {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            loopback_roles: Roles::of(&[Role::Client, Role::Operator]),
            public_metrics: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            tokens: Vec::new(),
        }
    }
}

/// One token.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// Whose it is: shown in logs and in the audit, and no other token's.
    pub name: String,
    /// What it allows.
    pub roles: Roles,
    /// Its hash.
    pub hash: TokenHash,
    /// The only instances that it is a client of; `None`: of all.
    pub instances: Option<Vec<InstanceId>>,
}

/// Listening where other machines reach the router, without any token: everybody on the network could read and, through a mistake,
/// change everything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "listening on {listen}, which others can reach, without any token: add one (`godot-mcp-router token new`) or listen on 127.0.0.1"
)]
pub struct OpenWithoutToken {
    /// The address.
    pub listen: SocketAddr,
}

/// One token, ready to be compared.
#[derive(Debug)]
pub(crate) struct TokenRule {
    pub(crate) name: Arc<str>,
    pub(crate) roles: Roles,
    pub(crate) hash: TokenHash,
    pub(crate) instances: Option<Arc<HashSet<InstanceId>>>,
}

/// The rules in force.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) loopback_roles: Roles,
    pub(crate) public_metrics: bool,
    pub(crate) tokens: Vec<TokenRule>,
    hosts: Vec<Authority>,
    origins: Vec<Origin>,
    listen_ips: HashSet<IpAddr>,
    /// Listening on every IPv4 address, or on every address at all.
    any_v4: bool,
    any_v6: bool,
}

impl Rules {
    /// The rules that these settings mean.
    pub(crate) fn new(settings: &AccessSettings) -> Result<Self, Vec<OpenWithoutToken>> {
        if settings.tokens.is_empty() {
            let reachable = settings
                .listen
                .iter()
                .filter(|listen| is_reachable(**listen));
            let open: Vec<OpenWithoutToken> = reachable
                .map(|listen| OpenWithoutToken { listen: *listen })
                .collect();
            if !open.is_empty() {
                return Err(open);
            }
        }
        let ips = || {
            settings
                .listen
                .iter()
                .map(|listen| listen.ip().to_canonical())
        };
        Ok(Self {
            loopback_roles: settings.loopback_roles,
            public_metrics: settings.public_metrics,
            tokens: settings.tokens.iter().map(TokenRule::new).collect(),
            hosts: settings.allowed_hosts.clone(),
            origins: settings.allowed_origins.clone(),
            listen_ips: ips().collect(),
            // A wildcard IPv6 socket takes IPv4 connections too, unless the machine is set up otherwise.
            any_v4: ips().any(|ip| ip.is_unspecified()),
            any_v6: ips().any(|ip| ip.is_ipv6() && ip.is_unspecified()),
        })
    }

    /// Whether the router answers to this host. On a wildcard address it answers to every address: rebinding attacks need a
    /// name, since a page loaded from an address talks to that address.
    pub(crate) fn is_own_host(&self, host: &Authority) -> bool {
        let listed = self.hosts.iter().any(|allowed| {
            allowed.host == host.host && (allowed.port.is_none() || allowed.port == host.port)
        });
        let listened_on = match host.host {
            Host::Name(_) => false,
            Host::Ip(ip) => {
                self.listen_ips.contains(&ip)
                    || (ip.is_ipv4() && self.any_v4)
                    || (ip.is_ipv6() && self.any_v6)
            }
        };
        host.host.is_loopback() || listed || listened_on
    }

    /// Whether pages of this origin may call: those of the list, and the router's own, seen under `host`.
    pub(crate) fn is_allowed_origin(&self, origin: &Origin, host: Option<&Authority>) -> bool {
        let own = host.is_some_and(|host| self.is_own_host(host) && origin.is_own(host));
        own || self.origins.contains(origin)
    }
}

impl TokenRule {
    fn new(settings: &TokenSettings) -> Self {
        Self {
            name: settings.name.as_str().into(),
            roles: settings.roles,
            hash: settings.hash,
            instances: settings
                .instances
                .as_ref()
                .map(|instances| Arc::new(instances.iter().cloned().collect())),
        }
    }
}

#[cfg(test)]
mod tests;
