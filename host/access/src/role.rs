//! Roles: what a caller may do. Closed.

use std::{fmt, str::FromStr};

/// One role. `admin` includes `operator`, which includes `viewer`; `client` stands beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Reads `/api`.
    Viewer,
    /// Speaks MCP, optionally with named instances only.
    Client,
    /// Changes things: start, stop, restart, register, reload.
    Operator,
    /// Everything of an operator, and what concerns other callers.
    Admin,
}

impl Role {
    /// All roles, weakest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Client, Self::Operator, Self::Admin];

    /// The word used in the configuration, in logs and in the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Client => "client",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Viewer => 1,
            Self::Client => 2,
            Self::Operator => 4,
            Self::Admin => 8,
        }
    }

    /// The role and what it includes.
    const fn closure(self) -> u8 {
        match self {
            Self::Viewer | Self::Client => self.bit(),
            Self::Operator => self.bit() | Self::Viewer.bit(),
            Self::Admin => self.bit() | Self::Operator.bit() | Self::Viewer.bit(),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a role: use viewer, client, operator or admin")]
pub struct InvalidRole {
    /// The refused text, cut to what is useful in a message.
    pub text: String,
}

impl FromStr for Role {
    type Err = InvalidRole;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| InvalidRole {
                text: text.chars().take(40).collect(),
            })
    }
}

/// A set of roles, closed under inclusion: whoever holds `admin` holds `viewer`.
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
            bits |= roles[at].closure();
            at += 1;
        }
        Self(bits)
    }

    /// Whether `role` is held.
    #[must_use]
    pub const fn contains(self, role: Role) -> bool {
        self.0 & role.bit() != 0
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
        Self(
            roles
                .into_iter()
                .fold(0, |bits, role| bits | role.closure()),
        )
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

    #[test]
    fn words_are_parsed_exactly() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        for text in ["", "Admin", "root", "viewer ", "viewer,client"] {
            assert!(text.parse::<Role>().is_err(), "{text:?}");
        }
    }
}
