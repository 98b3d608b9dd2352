//! Decides whether a request is served, and as whom.
//!
//! The order matters: first where the request believes it is (`Host`), then who made the browser send it (`Origin`), then who
//! the caller is, then what that caller may do. A presented token always counts, also from this machine: a wrong one is an
//! error, never a reason to fall back to what loopback may do.

use std::{collections::HashSet, sync::Arc};

use arc_swap::ArcSwap;
use router_core::{InstanceId, Role};
use router_values::{Authority, Origin, TokenHash};
use subtle::ConditionallySelectable;

use crate::{
    refusal::{AccessRefusal, RefusalKind},
    request::{AccessRequest, Needed},
    role::Roles,
    rules::{AccessSettings, OpenWithoutToken, Rules, TokenRule},
    token::bearer,
};

/// Who is let in: the present rules, replaced as a whole when the configuration is.
#[derive(Debug)]
pub struct Access {
    rules: ArcSwap<Rules>,
    loopback: Arc<str>,
    anonymous: Arc<str>,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token's name, `loopback`, or `anonymous`: for the audit.
    pub name: Arc<str>,
    /// What the caller may do.
    pub roles: Roles,
    /// How that is known.
    pub via: IdentifiedBy,
    /// The only instances that the caller is a client of; `None`: of all.
    pub instances: Option<Arc<HashSet<InstanceId>>>,
}

/// How it is known who calls. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdentifiedBy {
    /// The caller showed a token.
    Token,
    /// The caller is on this machine.
    Loopback,
    /// It is not known, and need not be.
    Open,
}

impl IdentifiedBy {
    /// In a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Loopback => "loopback",
            Self::Open => "open",
        }
    }
}

impl Access {
    /// Access by these settings.
    ///
    /// # Errors
    /// Every address that other machines reach, where there is no token.
    pub fn new(settings: &AccessSettings) -> Result<Self, Vec<OpenWithoutToken>> {
        Ok(Self {
            rules: ArcSwap::from_pointee(Rules::new(settings)?),
            loopback: "loopback".into(),
            anonymous: "anonymous".into(),
        })
    }

    /// Takes other settings from the next request on.
    ///
    /// # Errors
    /// As [`Access::new`]; the present settings stay in force.
    pub fn replace(&self, settings: &AccessSettings) -> Result<(), Vec<OpenWithoutToken>> {
        self.rules.store(Arc::new(Rules::new(settings)?));
        Ok(())
    }

    /// Who makes this request, if it may be served.
    ///
    /// # Errors
    /// What to answer instead.
    pub fn authorize(&self, request: &AccessRequest<'_>) -> Result<Principal, AccessRefusal> {
        let rules = self.rules.load();
        check_names(&rules, request)?;
        match request.needed {
            Needed::Nothing => Ok(self.nobody()),
            Needed::Metrics if rules.public_metrics => Ok(self.nobody()),
            Needed::Metrics => self.identify(&rules, request, Role::Viewer),
            Needed::Role(role) => self.identify(&rules, request, role),
        }
    }

    /// The request's `Origin`, where its pages may call: what an answer names in `Access-Control-Allow-Origin`. The same rule
    /// by which [`Access::authorize`] lets an origin pass, independent of the caller; a preflight has no other.
    #[must_use]
    pub fn allowed_origin<'a>(&self, request: &AccessRequest<'a>) -> Option<&'a str> {
        let host = request.host.and_then(|host| Authority::parse(host).ok());
        let rules = self.rules.load();
        request
            .origin
            .filter(|text| is_allowed_origin(&rules, text, host.as_ref()))
    }

    fn nobody(&self) -> Principal {
        Principal {
            name: Arc::clone(&self.anonymous),
            roles: Roles::NONE,
            via: IdentifiedBy::Open,
            instances: None,
        }
    }

    fn identify(
        &self,
        rules: &Rules,
        request: &AccessRequest<'_>,
        role: Role,
    ) -> Result<Principal, AccessRefusal> {
        if let Some(header) = request.authorization {
            let token = find_token(&rules.tokens, header)?;
            check_role(token, role)?;
            if role == Role::Client {
                check_instance(token, request)?;
            }
            return Ok(Principal {
                name: Arc::clone(&token.name),
                roles: token.roles,
                via: IdentifiedBy::Token,
                instances: token.instances.clone(),
            });
        }
        let local = request.is_loopback();
        if local && rules.loopback_roles.contains(role) {
            return Ok(Principal {
                name: Arc::clone(&self.loopback),
                roles: rules.loopback_roles,
                via: IdentifiedBy::Loopback,
                instances: None,
            });
        }
        Err(token_missing(role, local))
    }
}

fn check_names(rules: &Rules, request: &AccessRequest<'_>) -> Result<(), AccessRefusal> {
    let host = request.host.map(Authority::parse);
    if matches!(request.needed, Needed::Role(_)) {
        let refuse = |what: String| {
            let remedy = "Address the router as localhost or by an address it listens on, or add the name to allowed_hosts.";
            Err(AccessRefusal::new(
                RefusalKind::Host,
                format!("{what}. {remedy}"),
            ))
        };
        match &host {
            None => return refuse("The request has no Host header".into()),
            Some(Err(error)) => return refuse(format!("Host: {error}")),
            Some(Ok(host)) if !rules.is_own_host(host) => {
                return refuse(format!("Host {host} is not this router"));
            }
            Some(Ok(_)) => {}
        }
    }
    let Some(text) = request.origin else {
        return Ok(());
    };
    if is_allowed_origin(rules, text, host.and_then(Result::ok).as_ref()) {
        return Ok(());
    }
    let shown: String = text.chars().take(80).collect();
    let reason = format!(
        "Origin {shown:?} is not allowed. Add it to allowed_origins if its pages may call the router."
    );
    Err(AccessRefusal::new(RefusalKind::Origin, reason))
}

fn is_allowed_origin(rules: &Rules, text: &str, host: Option<&Authority>) -> bool {
    Origin::parse(text).is_ok_and(|origin| rules.is_allowed_origin(&origin, host))
}

/// Compares with every token, found or not, so that the time taken reveals nothing about which one it was.
fn find_token<'a>(tokens: &'a [TokenRule], header: &str) -> Result<&'a TokenRule, AccessRefusal> {
    let refuse = |reason: &str| {
        AccessRefusal::new(RefusalKind::TokenInvalid, reason)
            .challenged(", error=\"invalid_token\"")
    };
    let Some(presented) = bearer(header) else {
        return Err(refuse(
            "The Authorization header is not of the form `Bearer TOKEN`.",
        ));
    };
    let presented = TokenHash::of(presented);
    let mut found = u32::MAX;
    for (at, token) in (0_u32..).zip(tokens) {
        found.conditional_assign(&at, token.hash.matches(&presented));
    }
    tokens
        .get(found as usize)
        .ok_or_else(|| refuse("The token is unknown. If it was replaced, use the new one."))
}

fn check_role(token: &TokenRule, needed: Role) -> Result<(), AccessRefusal> {
    if token.roles.contains(needed) {
        return Ok(());
    }
    let (name, held) = (&token.name, token.roles);
    let reason = format!("Token {name:?} lacks the role {needed}; it has {held}.");
    let scope = format!(", error=\"insufficient_scope\", scope=\"{needed}\"");
    let refusal = AccessRefusal::new(RefusalKind::Role, reason).of(name);
    Err(refusal.challenged(&scope))
}

/// A token that is limited to some instances is a client of those only, and not of the fleet.
fn check_instance(token: &TokenRule, request: &AccessRequest<'_>) -> Result<(), AccessRefusal> {
    let Some(allowed) = &token.instances else {
        return Ok(());
    };
    let what = match request.instance {
        Some(instance) if allowed.contains(instance) => return Ok(()),
        Some(instance) => format!("instance {instance}"),
        None => "the whole fleet".into(),
    };
    let reason = format!("Token {:?} is no client of {what}.", &*token.name);
    let refusal = AccessRefusal::new(RefusalKind::Instance, reason).of(&token.name);
    Err(refusal.challenged(", error=\"insufficient_scope\", scope=\"client\""))
}

fn token_missing(role: Role, local: bool) -> AccessRefusal {
    let whence = if local {
        "Callers on this machine lack it without one (loopback_roles)."
    } else {
        "Make one with `godot-mcp-router token new`."
    };
    let reason = format!("A bearer token with the role {role} is needed. {whence}");
    AccessRefusal::new(RefusalKind::TokenMissing, reason).challenged("")
}

#[cfg(test)]
mod tests;
