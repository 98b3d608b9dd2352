//! Names that an operator chooses: of templates, plugins, policies and sinks.

use std::{fmt, sync::Arc};

use router_core::policy::PolicyNames;

/// Longest name, in bytes. They become file names and metric labels.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// A text that is no name: `[a-z0-9][a-z0-9_-]{0,63}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a name: it starts with a lower-case letter or digit, holds only those, - and _, and has at most {NAME_BYTES_MAX} characters"
)]
pub struct InvalidName {
    /// The refused text, cut to what is useful in a message.
    pub text: String,
}

fn parse(text: &str) -> Result<String, InvalidName> {
    let bytes = text.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let valid = bytes.first().is_some_and(plain)
        && bytes
            .iter()
            .all(|byte| plain(byte) || matches!(byte, b'-' | b'_'))
        && bytes.len() <= NAME_BYTES_MAX;
    if valid {
        Ok(text.to_owned())
    } else {
        Err(InvalidName {
            text: text.chars().take(80).collect(),
        })
    }
}

/// Whether a text can name an environment variable, or a placeholder.
pub(crate) fn is_variable(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(is_plain)
        && text
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Parses a name.
            ///
            /// # Errors
            /// See [`InvalidName`].
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                parse(text).map(Self)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// Names a `[template.NAME]`.
    TemplateName
}
name! {
    /// Names a plugin: the stem of its file, `NAME.wasm`.
    PluginName
}
name! {
    /// Names a `[sink.NAME]`.
    SinkName
}
name! {
    /// Names a chain: `[alerts.escalation.NAME]`.
    ChainName
}
name! {
    /// Names the policy that judges: a plugin, or `builtin` for the host's own rule.
    PolicyName
}

impl PolicyName {
    /// The name of the host's own rule.
    pub const BUILTIN: &str = "builtin";

    /// The plugin to ask; `None`: the host's own rule.
    #[must_use]
    pub fn plugin(&self) -> Option<&str> {
        (self.0 != Self::BUILTIN).then_some(self.0.as_str())
    }

    /// Whom the core asks: nobody where the host's own rule answers.
    #[must_use]
    pub fn names(&self) -> PolicyNames {
        self.plugin().map(Arc::from).into_iter().collect()
    }
}
