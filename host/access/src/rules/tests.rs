//! Which settings are refused.

use router_core::Role;
use router_values::TokenHash;

use super::{AccessSettings, OpenWithoutToken, Rules, TokenSettings};
use crate::role::Roles;

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
    faults.iter().map(OpenWithoutToken::to_string).collect()
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
