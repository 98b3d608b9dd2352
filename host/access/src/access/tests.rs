//! Who gets in, case by case.

use http::{HeaderMap, HeaderValue, Uri, header};
use router_core::{InstanceId, Role};
use router_values::{Authority, Origin, TokenHash};

use super::{Access, IdentifiedBy, Principal};
use crate::{
    refusal::{AccessRefusal, RefusalKind},
    request::{AccessRequest, Needed},
    role::Roles,
    rules::{AccessSettings, TokenSettings},
};

const ALICE: &str = "Bearer alice-secret";
const BOT: &str = "Bearer bot-secret";
const ROOT: &str = "Bearer root-secret";

fn settings() -> AccessSettings {
    let token = |name: &str, roles: &[Role], instances: Option<&[&str]>| TokenSettings {
        name: name.into(),
        roles: Roles::of(roles),
        hash: TokenHash::of(&format!("{name}-secret")),
        instances: instances.map(|ids| {
            ids.iter()
                .map(|id| InstanceId::parse(id).unwrap())
                .collect()
        }),
    };
    AccessSettings {
        listen: vec![
            "127.0.0.1:3002".parse().unwrap(),
            "10.0.0.5:3002".parse().unwrap(),
        ],
        allowed_hosts: ["router.example", "exact.example:8443"]
            .map(|host| Authority::parse(host).unwrap())
            .into(),
        allowed_origins: vec![Origin::parse("https://ide.example").unwrap()],
        tokens: vec![
            token("alice", &[Role::Viewer], None),
            token("bot", &[Role::Client], Some(&["demo", "42"])),
            token("root", &[Role::Admin], None),
        ],
        ..AccessSettings::default()
    }
}

/// A request that is served unless a case changes it: from loopback, by its name, for a viewer.
fn request() -> AccessRequest<'static> {
    AccessRequest {
        peer: "127.0.0.1:50000".parse().unwrap(),
        needed: Needed::Role(Role::Viewer),
        host: Some("localhost:3002"),
        origin: None,
        authorization: None,
        forwarded: false,
        instance: None,
    }
}

fn remote() -> AccessRequest<'static> {
    AccessRequest {
        peer: "10.0.0.9:50000".parse().unwrap(),
        host: Some("10.0.0.5:3002"),
        ..request()
    }
}

fn decide(request: &AccessRequest<'_>) -> Result<Principal, AccessRefusal> {
    Access::new(&settings()).unwrap().authorize(request)
}

fn kind(request: &AccessRequest<'_>) -> Option<RefusalKind> {
    decide(request).err().map(|refusal| refusal.kind)
}

#[test]
fn loopback_is_client_and_operator_by_default_and_no_more() {
    let peers = [
        "127.0.0.1:1",
        "127.3.4.5:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
    ];
    for peer in peers {
        for (role, expected) in [
            (Role::Viewer, None),
            (Role::Client, None),
            (Role::Operator, None),
            (Role::Admin, Some(RefusalKind::TokenMissing)),
        ] {
            let request = AccessRequest {
                peer: peer.parse().unwrap(),
                needed: Needed::Role(role),
                ..request()
            };
            assert_eq!(kind(&request), expected, "{peer} as {role}");
        }
    }
    let principal = decide(&request()).unwrap();
    assert_eq!(
        (&*principal.name, principal.via),
        ("loopback", IdentifiedBy::Loopback)
    );
    for peer in [
        "10.0.0.9:1",
        "[::ffff:10.0.0.9]:1",
        "[fe80::1]:1",
        "0.0.0.0:1",
        "[::]:1",
    ] {
        let request = AccessRequest {
            peer: peer.parse().unwrap(),
            ..remote()
        };
        assert_eq!(kind(&request), Some(RefusalKind::TokenMissing), "{peer}");
    }
}

#[test]
fn a_proxy_on_this_machine_does_not_make_everybody_local() {
    let forwarded = AccessRequest {
        forwarded: true,
        ..request()
    };
    assert_eq!(kind(&forwarded), Some(RefusalKind::TokenMissing));
    let with_token = AccessRequest {
        authorization: Some(ALICE),
        ..forwarded
    };
    assert_eq!(&*decide(&with_token).unwrap().name, "alice");
}

#[test]
fn a_wrong_token_is_refused_wherever_it_comes_from() {
    let headers = [
        "Bearer wrong",
        "Bearer alice-secre",
        "Bearer alice-secrett",
        "Bearer ALICE-SECRET",
        "Bearer alice-secret,alice-secret",
        "Bearer alice-secret bot-secret",
        "Bearer ",
        "Basic YWxpY2U6c2VjcmV0",
        "alice-secret",
        "",
    ];
    for base in [request(), remote()] {
        for header in headers {
            let request = AccessRequest {
                authorization: Some(header),
                ..base
            };
            let refusal = decide(&request).unwrap_err();
            assert_eq!(
                (refusal.status, refusal.kind),
                (401, RefusalKind::TokenInvalid),
                "{header:?}"
            );
            let challenge = refusal.www_authenticate.unwrap();
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            let secret = header
                .rsplit(' ')
                .next()
                .filter(|secret| !secret.is_empty());
            assert!(
                secret.is_none_or(|secret| !refusal.reason.contains(secret)),
                "{}",
                refusal.reason
            );
        }
    }
}

#[test]
fn tokens_give_their_roles_and_no_others() {
    let cases = [
        (ALICE, Role::Viewer, None),
        (ALICE, Role::Operator, Some(RefusalKind::Role)),
        (ALICE, Role::Client, Some(RefusalKind::Role)),
        (ROOT, Role::Viewer, None),
        (ROOT, Role::Operator, None),
        (ROOT, Role::Admin, None),
        (ROOT, Role::Client, Some(RefusalKind::Role)),
        ("bearer  alice-secret", Role::Viewer, None),
    ];
    for (authorization, role, expected) in cases {
        // On loopback too: a token says who speaks, and nothing is added to it.
        for base in [request(), remote()] {
            let request = AccessRequest {
                needed: Needed::Role(role),
                authorization: Some(authorization),
                ..base
            };
            assert_eq!(kind(&request), expected, "{authorization} as {role}");
        }
    }
    // The bearer of a known token is known, also when it is refused.
    let named = |authorization, needed| {
        let request = AccessRequest {
            needed: Needed::Role(needed),
            authorization: Some(authorization),
            ..remote()
        };
        decide(&request).unwrap_err().name
    };
    assert_eq!(named(ALICE, Role::Operator).as_deref(), Some("alice"));
    assert_eq!(named(BOT, Role::Client).as_deref(), Some("bot"));
    assert_eq!(named("Bearer wrong", Role::Viewer), None);
    let refusal = decide(&AccessRequest {
        needed: Needed::Role(Role::Operator),
        authorization: Some(ALICE),
        ..remote()
    })
    .unwrap_err();
    assert_eq!(refusal.status, 403);
    let challenge = refusal.www_authenticate.unwrap();
    assert!(
        challenge.contains("insufficient_scope") && challenge.contains("operator"),
        "{challenge}"
    );
}

#[test]
fn a_limited_client_reaches_its_instances_and_not_the_fleet() {
    let ids = ["demo", "42", "other"].map(|id| InstanceId::parse(id).unwrap());
    for (instance, expected) in [
        (Some(&ids[0]), None),
        (Some(&ids[1]), None),
        (Some(&ids[2]), Some(RefusalKind::Instance)),
        (None, Some(RefusalKind::Instance)),
    ] {
        let request = AccessRequest {
            needed: Needed::Role(Role::Client),
            authorization: Some(BOT),
            instance,
            ..remote()
        };
        assert_eq!(kind(&request), expected, "{instance:?}");
    }
}

#[test]
fn health_is_open_to_all_and_metrics_when_said() {
    for host in [
        None,
        Some("pod-7.cluster.local:80"),
        Some("evil.example"),
        Some("not a host"),
    ] {
        for authorization in [None, Some("Bearer wrong")] {
            let probe = AccessRequest {
                needed: Needed::Nothing,
                host,
                authorization,
                ..remote()
            };
            assert_eq!(
                decide(&probe).map(|who| who.via),
                Ok(IdentifiedBy::Open),
                "{host:?}"
            );
        }
        let scrape = AccessRequest {
            needed: Needed::Metrics,
            host,
            ..remote()
        };
        assert_eq!(kind(&scrape), Some(RefusalKind::TokenMissing));
        let with_token = AccessRequest {
            authorization: Some(ALICE),
            ..scrape
        };
        assert_eq!(kind(&with_token), None);
        let local = AccessRequest {
            peer: request().peer,
            ..scrape
        };
        assert_eq!(kind(&local), None);
        let public = Access::new(&AccessSettings {
            public_metrics: true,
            ..settings()
        })
        .unwrap();
        assert!(public.authorize(&scrape).is_ok());
    }
}

#[test]
fn only_names_of_this_router_are_answered_to() {
    let cases = [
        (Some("localhost"), true),
        (Some("LOCALHOST:9999"), true),
        (Some("localhost.:3002"), true),
        (Some("127.0.0.1:3002"), true),
        (Some("[::1]:3002"), true),
        (Some("10.0.0.5"), true),
        (Some("[::ffff:10.0.0.5]:3002"), true),
        (Some("router.example"), true),
        (Some("Router.Example.:443"), true),
        (Some("exact.example:8443"), true),
        (Some("exact.example"), false),
        (Some("exact.example:8444"), false),
        (None, false),
        (Some(""), false),
        (Some("evil.example"), false),
        (Some("localhost.evil.example"), false),
        (Some("127.0.0.1.nip.io:3002"), false),
        (Some("router.example.evil.example"), false),
        (Some("x.router.example"), false),
        (Some("10.0.0.6:3002"), false),
        (Some("0.0.0.0:3002"), false),
        (Some("localhost@evil.example"), false),
        (Some("localhost, evil.example"), false),
    ];
    for (host, served) in cases {
        for authorization in [None, Some(ALICE)] {
            let request = AccessRequest {
                host,
                authorization,
                ..request()
            };
            let expected = (!served).then_some(RefusalKind::Host);
            assert_eq!(kind(&request), expected, "{host:?}");
        }
    }
}

#[test]
fn a_wildcard_listener_answers_to_addresses_but_not_to_names() {
    let cases = [
        ("0.0.0.0:3002", "192.168.1.7:3002", true),
        ("0.0.0.0:3002", "0.0.0.0:3002", true),
        ("0.0.0.0:3002", "[2001:db8::1]:3002", false),
        ("[::]:3002", "[2001:db8::1]:3002", true),
        ("[::]:3002", "192.168.1.7:3002", true),
        ("0.0.0.0:3002", "evil.example:3002", false),
        ("[::]:3002", "evil.example:3002", false),
    ];
    for (listen, host, served) in cases {
        let access = Access::new(&AccessSettings {
            listen: vec![listen.parse().unwrap()],
            ..settings()
        })
        .unwrap();
        let request = AccessRequest {
            host: Some(host),
            ..request()
        };
        assert_eq!(
            access.authorize(&request).is_ok(),
            served,
            "{host} at {listen}"
        );
    }
}

#[test]
fn only_own_and_listed_origins_may_call() {
    let cases = [
        ("localhost:3002", "http://localhost:3002", true),
        ("localhost:3002", "http://127.0.0.1:3002", true),
        ("127.0.0.1:3002", "http://LOCALHOST.:3002", true),
        ("[::1]:3002", "http://localhost:3002", true),
        ("router.example", "https://router.example", true),
        ("router.example", "http://router.example:80", true),
        ("localhost:3002", "https://ide.example", true),
        ("localhost:3002", "https://ide.example:443", true),
        ("localhost:3002", "http://ide.example", false),
        ("localhost:3002", "http://localhost:5173", false),
        ("localhost:3002", "http://localhost", false),
        ("localhost:3002", "http://evil.example:3002", false),
        (
            "localhost:3002",
            "http://localhost:3002.evil.example",
            false,
        ),
        (
            "localhost:3002",
            "http://localhost.evil.example:3002",
            false,
        ),
        ("localhost:3002", "file://localhost:3002", false),
        ("localhost:3002", "null", false),
        ("localhost:3002", "", false),
        ("localhost:3002", "http://localhost:3002/", false),
        (
            "localhost:3002",
            "http://localhost:3002 http://evil.example",
            false,
        ),
    ];
    for (host, origin, served) in cases {
        let request = AccessRequest {
            host: Some(host),
            origin: Some(origin),
            needed: Needed::Role(Role::Client),
            ..request()
        };
        let expected = (!served).then_some(RefusalKind::Origin);
        assert_eq!(kind(&request), expected, "{origin} at {host}");
        let allowed = Access::new(&settings()).unwrap().allowed_origin(&request);
        assert_eq!(allowed, served.then_some(origin), "{origin} at {host}");
        let with_token = AccessRequest {
            authorization: Some("Bearer wrong"),
            ..request
        };
        let expected = if served {
            RefusalKind::TokenInvalid
        } else {
            RefusalKind::Origin
        };
        assert_eq!(
            kind(&with_token),
            Some(expected),
            "{origin} at {host}, with a token"
        );
    }
}

#[test]
fn a_rebound_name_reaches_nothing_but_what_is_open() {
    // The page comes from evil.example, whose name now points to 127.0.0.1: the browser sends both names alike.
    for origin in [None, Some("http://evil.example:3002")] {
        for role in Role::ALL {
            let request = AccessRequest {
                host: Some("evil.example:3002"),
                origin,
                needed: Needed::Role(role),
                ..request()
            };
            assert_eq!(kind(&request), Some(RefusalKind::Host));
        }
    }
    for needed in [Needed::Nothing, Needed::Metrics] {
        let request = AccessRequest {
            host: Some("evil.example:3002"),
            origin: Some("http://evil.example:3002"),
            needed,
            ..request()
        };
        assert_eq!(kind(&request), Some(RefusalKind::Origin));
    }
}

#[test]
fn changed_settings_count_from_the_next_request_on_and_bad_ones_change_nothing() {
    let access = Access::new(&settings()).unwrap();
    let request = AccessRequest {
        authorization: Some(ALICE),
        ..remote()
    };
    assert!(access.authorize(&request).is_ok());
    let without = |name: &str| {
        let mut settings = settings();
        settings.tokens.retain(|token| token.name != name);
        settings
    };
    access.replace(&without("alice")).unwrap();
    assert!(access.authorize(&request).is_err());
    let bad = AccessSettings {
        tokens: Vec::new(),
        ..settings()
    };
    assert!(access.replace(&bad).is_err());
    let root = AccessRequest {
        authorization: Some(ROOT),
        ..remote()
    };
    assert!(access.authorize(&root).is_ok());
}

#[test]
fn loopback_may_be_nobody() {
    let access = Access::new(&AccessSettings {
        loopback_roles: Roles::NONE,
        ..settings()
    })
    .unwrap();
    let refusal = access.authorize(&request()).unwrap_err();
    assert_eq!(
        (refusal.status, refusal.kind),
        (401, RefusalKind::TokenMissing)
    );
    assert_eq!(
        refusal.www_authenticate.as_deref(),
        Some("Bearer realm=\"godot-mcp-router\"")
    );
}

fn taken(
    uri: &'static str,
    pairs: &[(header::HeaderName, &'static str)],
) -> Result<Option<RefusalKind>, AccessRefusal> {
    let uri = Uri::from_static(uri);
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let peer = "127.0.0.1:1".parse().unwrap();
    let request = AccessRequest::from_http(peer, &uri, &headers, Needed::Role(Role::Viewer), None)?;
    Ok(decide(&request).err().map(|refusal| refusal.kind))
}

#[test]
fn facts_are_taken_from_one_reading_of_the_request() {
    let forwarded_for = header::HeaderName::from_static("x-forwarded-for");
    let cases = [
        (taken("/api", &[(header::HOST, "localhost")]), None),
        (taken("/api", &[]), Some(RefusalKind::Host)),
        // RFC 9112 §3.2.2: the target counts, not the header.
        (
            taken("http://evil.example/api", &[(header::HOST, "localhost")]),
            Some(RefusalKind::Host),
        ),
        (
            taken(
                "http://localhost:3002/api",
                &[(header::HOST, "evil.example")],
            ),
            None,
        ),
        (
            taken("http://a@localhost/api", &[]),
            Some(RefusalKind::Host),
        ),
        (
            taken(
                "/api",
                &[(header::HOST, "localhost"), (forwarded_for, "1.2.3.4")],
            ),
            Some(RefusalKind::TokenMissing),
        ),
        (
            taken(
                "/api",
                &[(header::HOST, "localhost"), (header::VIA, "1.1 x")],
            ),
            Some(RefusalKind::TokenMissing),
        ),
        (
            taken(
                "/api",
                &[(header::HOST, "localhost"), (header::AUTHORIZATION, ALICE)],
            ),
            None,
        ),
    ];
    for (at, (result, expected)) in cases.into_iter().enumerate() {
        assert_eq!(result.unwrap(), expected, "case {at}");
    }
    for name in [
        "X-Forwarded-Port",
        "X-Forwarded",
        "X-Real-IP",
        "X-Client-IP",
        "True-Client-IP",
        "CF-Connecting-IP",
        "Forwarded",
    ] {
        let name: header::HeaderName = name.parse().unwrap();
        let headers = [(header::HOST, "localhost"), (name.clone(), "::1")];
        let missing = Some(RefusalKind::TokenMissing);
        assert_eq!(taken("/api", &headers).unwrap(), missing, "{name}");
    }
    let repeated = [
        taken(
            "/api",
            &[(header::HOST, "localhost"), (header::HOST, "evil.example")],
        ),
        taken(
            "/api",
            &[
                (header::HOST, "localhost"),
                (header::ORIGIN, "http://localhost"),
                (header::ORIGIN, "null"),
            ],
        ),
        taken(
            "/api",
            &[
                (header::HOST, "localhost"),
                (header::AUTHORIZATION, ALICE),
                (header::AUTHORIZATION, ROOT),
            ],
        ),
        taken("/api", &[(header::HOST, "bücher.example")]),
    ];
    for result in repeated {
        assert_eq!(result.unwrap_err().status, 400);
    }
}
