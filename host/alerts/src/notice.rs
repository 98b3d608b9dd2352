//! What a sink is asked to deliver, and what it answers: the record `delivery` of `wit/deps/alerts/sink.wit` and its parts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::condition::{Condition, Severity};

/// Longest id of a delivery, in bytes. It holds no dot: Standard Webhooks signs `id.timestamp.body`.
pub const DELIVERY_ID_BYTES_MAX: usize = 64;
/// Longest group key, in bytes: what PagerDuty takes as `dedup_key`.
pub const GROUP_KEY_BYTES_MAX: usize = 255;
/// Most alerts that a notice lists; what is more is counted.
pub const LISTED_MAX: usize = 100;
/// Most lines about what changed lately.
pub const CHANGES_MAX: usize = 10;
/// Longest such line, in bytes.
pub const CHANGE_BYTES_MAX: usize = 256;
/// Longest receipt, in bytes.
pub const RECEIPT_BYTES_MAX: usize = 1_024;

/// The attribute of a notice whose alerts were over before it was first sent.
pub const OVER: &str = "fired_and_resolved";
/// The attribute of an alert that says which of its firings it is.
pub(crate) const FIRING: &str = "firing";

/// Why a sink is asked to deliver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// The first alert of the group fires.
    Firing,
    /// Another alert of the group fires.
    MoreFiring,
    /// Nobody acknowledged it in time.
    Escalated,
    /// It still fires.
    Reminder,
    /// The severity changed; this was the one before.
    SeverityChanged(Severity),
    /// Somebody, by this name, is on it.
    Acknowledged(String),
    /// None of the group fires any more.
    Resolved,
    /// Somebody tries the sink.
    Test,
    /// Something that the interface has no case for, by its name.
    Other(String),
}

impl Occasion {
    /// The name in JSON and logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Firing => "firing",
            Self::MoreFiring => "more_firing",
            Self::Escalated => "escalated",
            Self::Reminder => "reminder",
            Self::SeverityChanged(_) => "severity_changed",
            Self::Acknowledged(_) => "acknowledged",
            Self::Resolved => "resolved",
            Self::Test => "test",
            Self::Other(name) => name,
        }
    }
}

/// One alert as a sink is shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeAlert {
    /// What is wrong.
    pub condition: Arc<Condition>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// When it ended, in milliseconds since 1970; `None` while it fires.
    pub resolved_ms: Option<u64>,
    /// Who is on it, where somebody is.
    pub acknowledged_by: Option<String>,
    /// Further facts about it.
    pub attributes: Vec<(String, String)>,
}

impl NoticeAlert {
    /// Which time that it fired, from 1.
    #[must_use]
    pub fn firing(&self) -> Option<u32> {
        let mut attributes = self.attributes.iter();
        let (_, firing) = attributes.find(|(name, _)| name == FIRING)?;
        firing.parse().ok()
    }
}

/// What an address in a notice leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkTarget {
    /// Acknowledging the alert.
    Acknowledge,
    /// The runbook.
    Runbook,
    /// The alert in the router.
    Alert,
    /// Something that the interface has no case for, by its name.
    Other(String),
}

/// An address to offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What it leads to.
    pub target: LinkTarget,
    /// The address.
    pub url: String,
}

/// One attempt at one delivery, as a sink is asked to make it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Now, in milliseconds since 1970.
    pub now_ms: u64,
    /// The same for each attempt at the same delivery. At most [`DELIVERY_ID_BYTES_MAX`] bytes, without a dot.
    pub id: String,
    /// Why.
    pub occasion: Occasion,
    /// Names the group: the same for all deliveries about it. At most [`GROUP_KEY_BYTES_MAX`] bytes.
    pub group_key: String,
    /// The alerts of the group, the most severe first, at most [`LISTED_MAX`].
    pub alerts: Vec<NoticeAlert>,
    /// How many more there are.
    pub more: u32,
    /// What changed lately: configuration, plugins, the router's version, tools. One line each, at most [`CHANGES_MAX`].
    pub changes: Vec<String>,
    /// Addresses to offer.
    pub links: Vec<Link>,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// How long the call may take, in milliseconds.
    pub deadline_ms: u64,
    /// What this sink returned for the delivery before about the same group.
    pub receipt: Option<Receipt>,
    /// Further facts about the delivery.
    pub attributes: Vec<(String, String)>,
}

/// What a sink returned, to be given to it with the next delivery about the same group: at most [`RECEIPT_BYTES_MAX`] bytes, and
/// nobody else's to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Receipt(String);

/// A receipt is longer than [`RECEIPT_BYTES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the receipt has {0} bytes, and may have {RECEIPT_BYTES_MAX}")]
pub struct ReceiptTooLong(pub usize);

impl Receipt {
    /// Takes what a sink returned.
    ///
    /// # Errors
    /// It is too long.
    pub fn new(text: String) -> Result<Self, ReceiptTooLong> {
        if text.len() > RECEIPT_BYTES_MAX {
            return Err(ReceiptTooLong(text.len()));
        }
        Ok(Self(text))
    }

    /// What the sink returned.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Receipt {
    type Error = ReceiptTooLong;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

/// Why an attempt delivered nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryError {
    /// Not now. It is tried again, and is held against nobody.
    #[error("to be tried again: {reason}")]
    Retry {
        /// Why.
        reason: String,
        /// After how many milliseconds, where the other side said so; else when the router sees fit.
        after_ms: Option<u64>,
    },
    /// This delivery never, for this reason. Another sink is tried.
    #[error("refused: {0}")]
    Refused(String),
    /// Nothing is ever taken there any more, for this reason.
    #[error("gone: {0}")]
    Gone(String),
    /// Something that the interface has no case for; it is tried again.
    #[error("{0}")]
    Other(String),
}

#[cfg(test)]
mod tests {
    use super::{RECEIPT_BYTES_MAX, Receipt};

    #[test]
    fn a_receipt_that_is_too_long_is_none_wherever_it_comes_from() {
        let (fits, long) = (
            "r".repeat(RECEIPT_BYTES_MAX),
            "r".repeat(RECEIPT_BYTES_MAX + 1),
        );
        assert_eq!(Receipt::new(fits.clone()).unwrap().as_str(), fits);
        assert!(Receipt::new(long.clone()).is_err());
        let read = |text: &str| serde_json::from_value::<Receipt>(text.into());
        assert_eq!(read(&fits).unwrap().as_str(), fits);
        assert!(read(&long).is_err());
    }
}
