//! The protocol versions of the `initialize` era, and how one is agreed on.

use std::fmt;

/// A version of MCP that starts with `initialize`. Ordered by date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolVersion {
    /// 2024-11-05.
    V2024_11_05,
    /// 2025-03-26: streamable HTTP.
    V2025_03_26,
    /// 2025-06-18: the `MCP-Protocol-Version` header, elicitation.
    V2025_06_18,
    /// 2025-11-25: priming events.
    V2025_11_25,
}

impl ProtocolVersion {
    /// Every version that is served, newest first.
    pub const SUPPORTED: [Self; 4] = [
        Self::V2025_11_25,
        Self::V2025_06_18,
        Self::V2025_03_26,
        Self::V2024_11_05,
    ];

    /// The newest version that is served.
    pub const LATEST: Self = Self::V2025_11_25;

    /// The version as it stands in messages and headers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
        }
    }

    /// The version that a text names, if it is served.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::SUPPORTED
            .into_iter()
            .find(|version| version.as_str() == text)
    }

    /// What a client that asked for `wanted` gets in front of an instance that speaks `self`: never more than the
    /// instance offers, and the instance's own version where the wish is unknown.
    #[must_use]
    pub fn negotiate(self, wanted: &str) -> Self {
        Self::parse(wanted).map_or(self, |wanted| wanted.min(self))
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::ProtocolVersion;

    #[test]
    fn a_client_never_gets_more_than_the_instance_speaks() {
        let cases = [
            ("2025-11-25", "2025-11-25", "2025-11-25"),
            ("2024-11-05", "2025-11-25", "2024-11-05"),
            ("2025-11-25", "2025-03-26", "2025-03-26"),
            ("2025-06-18", "1999-01-01", "2025-06-18"),
            ("2025-06-18", "", "2025-06-18"),
        ];
        for (instance, wanted, agreed) in cases {
            let instance = ProtocolVersion::parse(instance).expect("known");
            assert_eq!(instance.negotiate(wanted).as_str(), agreed, "{wanted}");
        }
    }
}
