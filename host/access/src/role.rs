//! Sets of roles, and which role includes which.

use std::fmt;

use router_core::Role;

const fn bit(role: Role) -> u8 {
    match role {
        Role::Viewer => 1,
        Role::Client => 2,
        Role::Operator => 4,
        Role::Admin => 8,
    }
}

/// A role and what it includes: `admin` includes `operator`, which includes `viewer`; `client` stands beside them.
const fn closure(role: Role) -> u8 {
    match role {
        Role::Viewer | Role::Client => bit(role),
        Role::Operator => bit(role) | bit(Role::Viewer),
        Role::Admin => bit(role) | bit(Role::Operator) | bit(Role::Viewer),
    }
}

/// A set of roles, closed under inclusion: `admin` holds `viewer`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Roles(u8);

impl Roles {
    /// No role.
    pub const NONE: Self = Self(0);

    /// The roles named, and what they include.
    #[must_use]
    pub const fn of(roles: &[Role]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < roles.len() {
            bits |= closure(roles[at]);
            at += 1;
        }
        Self(bits)
    }

    /// Whether `role` is held.
    #[must_use]
    pub const fn contains(self, role: Role) -> bool {
        self.0 & bit(role) != 0
    }

    /// Whether no role is held.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The roles held, weakest first.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL
            .into_iter()
            .filter(move |role| self.contains(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | closure(role)))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The roles, separated by commas, weakest first; `none` where there are none.
impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (at, role) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            f.write_str(role.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Role, Roles};

    #[test]
    fn roles_include_as_the_contract_says_and_client_stands_apart() {
        let cases = [
            (Role::Viewer, "viewer"),
            (Role::Client, "client"),
            (Role::Operator, "viewer,operator"),
            (Role::Admin, "viewer,operator,admin"),
        ];
        for (role, expected) in cases {
            assert_eq!(Roles::of(&[role]).to_string(), expected);
            assert_eq!([role].into_iter().collect::<Roles>(), Roles::of(&[role]));
        }
        assert_eq!(Roles::NONE.to_string(), "none");
        assert!(!Roles::of(&[Role::Admin]).contains(Role::Client));
    }
}
