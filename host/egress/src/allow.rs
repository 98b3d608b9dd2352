//! Where one sink may send: the origins of its `allow`, and which addresses their names may lead to.
//!
//! An origin that stands there may be without TLS, and at an address that is somebody's own. A *name* that stands there has to lead
//! to public addresses, because who answers for a name may change his answer: unless the name itself says that it is a network's own
//! (`localhost`, `alertmanager`, `alerts.internal`), or the address stands there too. So no name leads a sink to a neighbour
//! that the operator did not write down.

use std::net::{IpAddr, SocketAddr};

use router_values::{Host, Origin};

use crate::{address::Scope, message::EgressError};

/// Names below these are nobody's on the internet: RFC 6761, RFC 6762, RFC 8375, and the one that ICANN reserved for private use.
const PRIVATE_SUFFIXES: [&str; 5] = [".localhost", ".local", ".home.arpa", ".internal", ".test"];

/// See the module.
#[derive(Debug)]
pub(crate) struct AllowList(Vec<Origin>);

impl AllowList {
    pub(crate) fn new(origins: Vec<Origin>) -> Self {
        Self(origins)
    }

    /// Checks an origin. Its words name it only where it is not part of a secret.
    pub(crate) fn check(&self, origin: &Origin, secret: Option<&str>) -> Result<(), EgressError> {
        if self.0.contains(origin) {
            return Ok(());
        }
        Err(EgressError::Denied(match secret {
            Some(secret) => format!(
                "the address that the secret {secret} holds is of no origin in the sink's `allow`: add its scheme, host and port there"
            ),
            None => {
                format!(
                    "{origin} is not in the sink's `allow`: add {:?} there",
                    origin.to_string()
                )
            }
        }))
    }

    /// Checks every address that an origin's host has: one that may not be reached spoils the others, since the same host gave them.
    pub(crate) fn check_addresses(
        &self,
        origin: &Origin,
        addresses: &[SocketAddr],
    ) -> Result<(), EgressError> {
        addresses
            .iter()
            .try_for_each(|address| self.check_address(origin, address.ip()))
    }

    fn check_address(&self, origin: &Origin, address: IpAddr) -> Result<(), EgressError> {
        // The operator wrote it down.
        let written = origin.at(address);
        if *origin == written || self.0.contains(&written) {
            return Ok(());
        }
        let what = match Scope::of(address) {
            Scope::Public => return Ok(()),
            Scope::Private(_) if is_private_name(origin.host()) => return Ok(()),
            Scope::Private(what) | Scope::Unusable(what) => what,
        };
        Err(EgressError::Denied(format!(
            "{} has the address {}, which is {what}: where that is meant, add {:?} to the sink's `allow` too",
            origin.host(),
            address.to_canonical(),
            written.to_string()
        )))
    }
}

/// Whether a name can only be a network's own. On the internet no name is without a dot (RFC 7085).
fn is_private_name(host: &Host) -> bool {
    match host {
        Host::Ip(_) => false,
        Host::Name(name) => {
            !name.contains('.') || PRIVATE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use router_values::Origin;

    use super::{AllowList, EgressError};

    fn allow(origins: &[&str]) -> AllowList {
        let origins = origins.iter();
        AllowList::new(
            origins
                .map(|one| Origin::parse_http(one).unwrap())
                .collect(),
        )
    }

    #[test]
    fn only_what_is_written_down_is_allowed() {
        let list = allow(&["https://hooks.slack.com", "http://127.0.0.1:9093"]);
        for (origin, allowed) in [
            ("https://hooks.slack.com", true),
            ("https://HOOKS.slack.com.:443", true),
            ("http://127.0.0.1:9093", true),
            ("http://[::ffff:127.0.0.1]:9093", true),
            ("http://hooks.slack.com", false),
            ("https://hooks.slack.com:8443", false),
            ("https://slack.com", false),
            ("https://evil.hooks.slack.com", false),
            ("https://127.0.0.1:9093", false),
        ] {
            let parsed = Origin::parse_http(origin).unwrap();
            assert_eq!(list.check(&parsed, None).is_ok(), allowed, "{origin}");
        }
        let other = Origin::parse_http("https://other.example").unwrap();
        let EgressError::Denied(reason) = list.check(&other, None).unwrap_err() else {
            panic!("denied");
        };
        assert!(
            reason.contains("add \"https://other.example\" there"),
            "{reason}"
        );
        let reason = list
            .check(&other, Some("webhook_url"))
            .unwrap_err()
            .to_string();
        assert!(
            !reason.contains("other") && reason.contains("webhook_url"),
            "{reason}"
        );
    }

    #[test]
    fn a_name_leads_to_no_neighbour_that_is_not_written_down() {
        let list = allow(&[
            "https://hooks.slack.com",
            "https://alerts.corp.example",
            "https://10.0.0.5",
            "http://alertmanager:9093",
            "http://am.monitoring.internal",
            "https://169.254.10.1",
        ]);
        for (origin, address, allowed) in [
            ("https://hooks.slack.com", "3.3.3.3", true),
            ("https://hooks.slack.com", "127.0.0.1", false),
            ("https://hooks.slack.com", "169.254.169.254", false),
            ("https://hooks.slack.com", "::ffff:10.1.1.1", false),
            ("https://alerts.corp.example", "10.0.0.5", true),
            ("https://alerts.corp.example", "::ffff:10.0.0.5", true),
            ("https://alerts.corp.example", "10.0.0.6", false),
            ("https://10.0.0.5", "10.0.0.5", true),
            ("https://169.254.10.1", "169.254.10.1", true),
            ("http://alertmanager:9093", "172.18.0.3", true),
            ("http://alertmanager:9093", "127.0.0.1", true),
            ("http://alertmanager:9093", "169.254.169.254", false),
            ("http://alertmanager:9093", "224.0.0.1", false),
            ("http://am.monitoring.internal", "10.9.9.9", true),
        ] {
            let origin = Origin::parse_http(origin).unwrap();
            let address = SocketAddr::new(address.parse().unwrap(), 1);
            let checked = list.check_addresses(&origin, &[address]);
            assert_eq!(checked.is_ok(), allowed, "{origin}: {checked:?}");
        }
        let origin = Origin::parse_http("https://hooks.slack.com").unwrap();
        let mixed = ["3.3.3.3:443", "10.0.0.1:443"].map(|one| one.parse().unwrap());
        let reason = list
            .check_addresses(&origin, &mixed)
            .unwrap_err()
            .to_string();
        assert!(reason.contains("add \"https://10.0.0.1\" to"), "{reason}");
    }
}
