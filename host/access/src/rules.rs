//! The settings of access, checked once into rules that cannot be inconsistent.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use router_core::{InstanceId, Role};

use crate::{
    authority::{Authority, InvalidAuthority, InvalidOrigin, Origin, OriginHost},
    role::Roles,
    token::TokenHash,
};

/// Most tokens: every request with a token is compared with all of them, some 10 ns each.
const TOKENS_MAX: usize = 256;

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
    pub allowed_hosts: Vec<String>,
    /// Origins of pages that may call the router, beside its own: `scheme://host[:port]`.
    pub allowed_origins: Vec<String>,
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
    /// Whose it is: shown in logs and in the audit.
    pub name: String,
    /// What it allows.
    pub roles: Roles,
    /// Its hash.
    pub hash: TokenHash,
    /// The only instances that it is a client of; `None`: of all.
    pub instances: Option<Vec<InstanceId>>,
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Everybody on the network could read and, through a mistake, change everything.
    #[error(
        "listening on {listen}, which others can reach, without any token: add one (`godot-mcp-router token new`) or listen on 127.0.0.1"
    )]
    OpenWithoutToken {
        /// The address.
        listen: SocketAddr,
    },
    /// More than 256 tokens.
    #[error("{count} tokens, but at most {TOKENS_MAX} are allowed")]
    TooManyTokens {
        /// How many.
        count: usize,
    },
    /// A name that could break a log line, or none.
    #[error(
        "token name {name:?}: use 1 to 64 letters, digits and . _ @ -, a letter or digit first"
    )]
    TokenName {
        /// The name.
        name: String,
    },
    /// Two tokens share a name, so that the audit could not tell them apart.
    #[error("two tokens are named {name:?}")]
    TokenNamedTwice {
        /// The name.
        name: String,
    },
    /// Two names share a token, so that the audit could not tell them apart.
    #[error("tokens {first:?} and {second:?} have the same hash")]
    TokenSharedByTwo {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// A token that allows nothing.
    #[error("token {name:?} has no roles: give it some of viewer, client, operator, admin")]
    TokenWithoutRoles {
        /// Its name.
        name: String,
    },
    /// Instances limit clients only; the operator who wrote them here meant something that would not happen.
    #[error("token {name:?} names instances, which limit the role client, but it is no client")]
    InstancesWithoutClient {
        /// Its name.
        name: String,
    },
    /// An entry of `allowed_hosts`.
    #[error("allowed_hosts: {0}")]
    AllowedHost(#[source] InvalidAuthority),
    /// An entry of `allowed_origins`.
    #[error("allowed_origins: {0}")]
    AllowedOrigin(#[source] InvalidOrigin),
}

/// One token, checked.
#[derive(Debug)]
pub(crate) struct TokenRule {
    pub(crate) name: Arc<str>,
    pub(crate) roles: Roles,
    pub(crate) hash: TokenHash,
    pub(crate) instances: Option<HashSet<InstanceId>>,
}

/// Checked settings.
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
    /// Checks all settings and names every fault.
    pub(crate) fn new(settings: &AccessSettings) -> Result<Self, Vec<AccessError>> {
        let mut faults = token_faults(&settings.tokens);
        if settings.tokens.is_empty() {
            let reachable = settings
                .listen
                .iter()
                .filter(|listen| !listen.ip().to_canonical().is_loopback());
            faults
                .extend(reachable.map(|listen| AccessError::OpenWithoutToken { listen: *listen }));
        }
        let mut hosts = Vec::new();
        for text in &settings.allowed_hosts {
            match Authority::parse(text) {
                Ok(host) => hosts.push(host),
                Err(error) => faults.push(AccessError::AllowedHost(error)),
            }
        }
        let mut origins = Vec::new();
        for text in &settings.allowed_origins {
            match Origin::parse(text) {
                Ok(origin) => origins.push(origin),
                Err(error) => faults.push(AccessError::AllowedOrigin(error)),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
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
            hosts,
            origins,
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
            OriginHost::Name(_) => false,
            OriginHost::Ip(ip) => {
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
                .map(|instances| instances.iter().cloned().collect()),
        }
    }
}

fn token_faults(tokens: &[TokenSettings]) -> Vec<AccessError> {
    let mut faults = Vec::new();
    if tokens.len() > TOKENS_MAX {
        faults.push(AccessError::TooManyTokens {
            count: tokens.len(),
        });
        return faults;
    }
    for (at, token) in tokens.iter().enumerate() {
        let name = || token.name.clone();
        // It stands in log lines and audit rows, as the ids of instances do.
        if InstanceId::parse(&token.name).is_err() {
            faults.push(AccessError::TokenName { name: name() });
        }
        if token.roles.is_empty() {
            faults.push(AccessError::TokenWithoutRoles { name: name() });
        }
        if token.instances.is_some() && !token.roles.contains(Role::Client) {
            faults.push(AccessError::InstancesWithoutClient { name: name() });
        }
        for earlier in &tokens[..at] {
            if earlier.name == token.name {
                faults.push(AccessError::TokenNamedTwice { name: name() });
            } else if earlier.hash == token.hash {
                faults.push(AccessError::TokenSharedByTwo {
                    first: earlier.name.clone(),
                    second: name(),
                });
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests;
