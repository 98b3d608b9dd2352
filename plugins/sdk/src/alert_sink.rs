//! Alert sinks: the world `alert-sink`.
//!
//! A sink makes a message of a [`Delivery`] and sends it through [`egress`]. It never holds a secret: where one belongs it puts a
//! [`egress::placeholder`]. Natively [`egress::FakeEgress`] stands in for the router and the receiver behind it, so that a sink is
//! tested as the plain function that it is.

pub mod egress;
mod times;

use crate::{
    Settings,
    kind::{kind_bindings, kind_trait},
};

kind_bindings!(
    "export_sink",
    "package router:sdk-sink; world sink { import router:alerts/egress@0.2.0; export router:alerts/sink@0.2.0; }",
    "router:alerts/types@0.2.0": crate::alert_rule::bindings::router::alerts::types,
);

pub use crate::alert_rule::{Condition, Severity};
pub use bindings::exports::router::alerts::sink::{
    Alert, Delivery, DeliveryError, Later, Link, LinkTarget, Occasion,
};
pub use times::rfc3339;

/// What came of a delivery: a receipt for the next one about the same group, or why there was none.
pub type Delivered = Result<Option<String>, DeliveryError>;

kind_trait! {
    /// An alert sink. Implement it, then [`crate::export_alert_sink!`] it.
    pub trait AlertSink {
        /// Delivers.
        ///
        /// # Errors
        /// It was not delivered; says whether to try again.
        fn deliver(delivery: &Delivery, settings: &Settings) -> Delivered;
    }
}

impl Severity {
    /// `P1` to `P4`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
        }
    }
}

impl Occasion {
    /// In one or two words, as they begin a message.
    #[must_use]
    pub fn describe(&self) -> &str {
        match self {
            Self::Firing => "firing",
            Self::MoreFiring => "more firing",
            Self::Escalated => "escalated",
            Self::Reminder => "still firing",
            Self::SeverityChanged(_) => "severity changed",
            Self::Acknowledged(_) => "acknowledged",
            Self::Resolved => "resolved",
            Self::Test => "test",
            Self::Other(name) => name,
        }
    }
}

impl Delivery {
    /// The severity of the most severe alert.
    #[must_use]
    pub fn severity(&self) -> Severity {
        let alert = self.alerts.first();
        alert.map_or(Severity::P4, |alert| alert.condition.severity)
    }

    /// What is wrong, in one line: of the most severe alert, and how many more there are. It does not end with a full stop.
    #[must_use]
    pub fn summary(&self) -> String {
        let Some(first) = self.alerts.first() else {
            return "no alert".to_owned();
        };
        let summary = first.condition.summary.trim_end_matches('.');
        match self.alerts.len() as u64 - 1 + u64::from(self.more) {
            0 => summary.to_owned(),
            more => format!("{summary} (and {more} more)"),
        }
    }

    /// It fired and is over already: the receiver has not heard of it before, and hears of both at once.
    #[must_use]
    pub fn is_fired_and_resolved(&self) -> bool {
        let mut attributes = self.attributes.iter();
        attributes.any(|(name, value)| name == "fired_and_resolved" && value == "true")
    }

    /// The address to offer for something.
    #[must_use]
    pub fn link(&self, target: &LinkTarget) -> Option<&str> {
        let link = self.links.iter().find(|link| link.target == *target)?;
        Some(&link.url)
    }
}

impl DeliveryError {
    /// Not now: the router tries again when it sees fit.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::retry_after(reason, None)
    }

    /// Not now: the router tries again after so many milliseconds, where the other side said so.
    pub fn retry_after(reason: impl Into<String>, after_ms: Option<u64>) -> Self {
        Self::Retry(Later {
            reason: reason.into(),
            after_ms,
        })
    }
}

/// That something could not be sent may be over in a moment, also where it is the configuration: then it was corrected. A request that
/// could never be sent is not tried again.
impl From<egress::EgressError> for DeliveryError {
    fn from(error: egress::EgressError) -> Self {
        use egress::EgressError::{Denied, Failed, MisplacedSecret, Other, TimedOut};
        match error {
            Denied(reason) | Failed(reason) => Self::retry(reason),
            TimedOut => Self::retry("no answer in time"),
            MisplacedSecret(reason) | Other(reason) => Self::Refused(reason),
        }
    }
}

/// A firing P2 of one instance, to start a test from.
impl Default for Delivery {
    fn default() -> Self {
        Self {
            now_ms: 1_800_000_060_000,
            id: "d-1".to_owned(),
            occasion: Occasion::Firing,
            group_key: "instance-crash-loop/demo#1".to_owned(),
            alerts: vec![Alert::default()],
            more: 0,
            changes: Vec::new(),
            links: Vec::new(),
            attempt: 1,
            deadline_ms: 30_000,
            receipt: None,
            attributes: Vec::new(),
        }
    }
}

/// A crash loop of the instance `demo`, a minute old.
impl Default for Alert {
    fn default() -> Self {
        let condition = Condition::new(
            "instance-crash-loop/demo",
            "instance-crash-loop",
            Severity::P2,
            "demo is in a crash loop.",
        );
        Self {
            condition: condition
                .with_remedy("Look at its last lines of output, and start it again.")
                .with_anchor("crash-loop")
                .of_instance("demo"),
            since_ms: 1_800_000_000_000,
            resolved_ms: None,
            acknowledged_by: None,
            attributes: Vec::new(),
        }
    }
}

/// Cuts a text to so many characters, with an ellipsis where something was cut off.
#[must_use]
pub fn truncated(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let kept = text.chars().take(chars_max.saturating_sub(1));
    kept.chain(['…']).collect()
}

/// Makes an [`AlertSink`] the plugin that this crate is built to. For wasm only: natively it does nothing, so that tests run.
#[macro_export]
macro_rules! export_alert_sink {
    ($sink:ident) => {
        $crate::export_plugin! {
            $sink, alert_sink::AlertSink, alerts::sink by export_sink,
            deliver(delivery: Delivery) -> Delivered = deliver
        }
    };
}

#[cfg(test)]
mod tests {
    use super::{Alert, Delivery, truncated};

    #[test]
    fn a_summary_says_how_many_more_there_are() {
        let mut delivery = Delivery::default();
        assert_eq!(delivery.summary(), "demo is in a crash loop");
        delivery.alerts.push(Alert::default());
        delivery.more = 5;
        assert_eq!(delivery.summary(), "demo is in a crash loop (and 6 more)");
        delivery.alerts.clear();
        assert_eq!(delivery.summary(), "no alert");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(truncated("äöü", 3), "äöü");
        assert_eq!(truncated("äöüx", 3), "äö…");
        assert_eq!(truncated("abc", 0), "…");
    }
}
