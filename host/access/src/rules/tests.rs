//! Which settings are refused, and that all faults are named at once.

use router_core::{InstanceId, Role};

use super::{AccessError, AccessSettings, Rules, TokenSettings};
use crate::{role::Roles, token::TokenHash};

fn token(name: &str, secret: &str, roles: &[Role]) -> TokenSettings {
    TokenSettings {
        name: name.into(),
        roles: Roles::of(roles),
        hash: TokenHash::of(secret),
        instances: None,
    }
}

fn faults(settings: &AccessSettings) -> Vec<String> {
    let faults = Rules::new(settings).err().unwrap_or_default();
    faults.iter().map(AccessError::to_string).collect()
}

#[test]
fn listening_off_loopback_needs_a_token() {
    let cases = [
        (
            &[
                "127.0.0.1:3002",
                "[::1]:3002",
                "127.9.9.9:1",
                "[::ffff:127.0.0.1]:1",
            ][..],
            0,
        ),
        (&["0.0.0.0:3002"], 1),
        (&["[::]:3002"], 1),
        (&["10.0.0.1:3002"], 1),
        (
            &["127.0.0.1:3002", "10.0.0.1:3002", "[2001:db8::1]:3002"],
            2,
        ),
    ];
    for (listen, expected) in cases {
        let mut settings = AccessSettings {
            listen: listen.iter().map(|text| text.parse().unwrap()).collect(),
            ..AccessSettings::default()
        };
        let found = faults(&settings);
        assert_eq!(found.len(), expected, "{listen:?}: {found:?}");
        assert!(
            found.iter().all(|fault| fault.contains("token new")),
            "{found:?}"
        );
        settings.tokens = vec![token("one", "x", &[Role::Viewer])];
        assert_eq!(faults(&settings), Vec::<String>::new());
    }
}

#[test]
fn every_fault_is_named_at_once() {
    let mut limited = token("limited", "l", &[Role::Viewer]);
    limited.instances = Some(vec![InstanceId::parse("demo").unwrap()]);
    let settings = AccessSettings {
        listen: vec!["127.0.0.1:3002".parse().unwrap()],
        allowed_hosts: vec!["router.example".into(), "http://router.example".into()],
        allowed_origins: vec!["https://ok.example".into(), "*".into()],
        tokens: vec![
            token("a", "1", &[Role::Viewer]),
            token("a", "2", &[Role::Viewer]),
            token("b", "1", &[Role::Viewer]),
            token("c", "3", &[]),
            token("two words", "4", &[Role::Admin]),
            token(".hidden", "5", &[Role::Admin]),
            limited,
        ],
        ..AccessSettings::default()
    };
    let found = faults(&settings);
    let expected = [
        "two tokens are named \"a\"",
        "tokens \"a\" and \"b\" have the same hash",
        "token \"c\" has no roles",
        "token name \"two words\"",
        "token name \".hidden\"",
        "token \"limited\" names instances",
        "allowed_hosts: \"http://router.example\"",
        "allowed_origins: \"*\"",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for start in expected {
        assert!(
            found.iter().any(|fault| fault.starts_with(start)),
            "{start} in {found:#?}"
        );
    }
}

#[test]
fn the_number_of_tokens_is_bounded() {
    let tokens = |count: usize| AccessSettings {
        tokens: (0..count)
            .map(|at| token(&format!("t{at}"), &at.to_string(), &[Role::Viewer]))
            .collect(),
        ..AccessSettings::default()
    };
    assert_eq!(faults(&tokens(256)), Vec::<String>::new());
    assert_eq!(faults(&tokens(257)).len(), 1);
}
