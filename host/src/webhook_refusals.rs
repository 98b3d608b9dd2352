//! Calls to webhooks that are not signed as they should be: said loudly, since who calls stops calling after a few of them, and not more
//! than once a second, since anybody may call.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use parking_lot::Mutex;
use router_values::{AuditRow, RateBudget};

use crate::evidence::EvidenceRecorder;

/// Log lines and audit rows about them per second; what is past that is counted in the next.
const PER_SECOND_MAX: u32 = 1;

/// Longest name of a sink, in characters.
const SINK_CHARS_MAX: usize = 64;

/// See the module.
pub(crate) struct WebhookRefusals {
    recorder: Arc<EvidenceRecorder>,
    budget: Mutex<RateBudget>,
}

impl WebhookRefusals {
    /// One that writes there.
    pub(crate) fn new(recorder: Arc<EvidenceRecorder>) -> Self {
        let budget = RateBudget::new(PER_SECOND_MAX, Instant::now());
        Self {
            recorder,
            budget: Mutex::new(budget),
        }
    }

    /// A call to the webhook of a sink was refused. `is_signed`: `None` where there is no such sink, or it has no secret.
    pub(crate) fn refused(&self, sink: &str, is_signed: Option<bool>, from: SocketAddr) {
        let Some(more) = self.budget.lock().spend(Instant::now()) else {
            return;
        };
        // It is the caller's text.
        let sink: String = sink.chars().take(SINK_CHARS_MAX).collect();
        let reason = match is_signed {
            Some(_) => {
                "its signature is not by the sink's webhook_secret: was that replaced at one side only? PagerDuty stops \
                 calling for a day after three of them"
            }
            None => "there is no such sink, or it has no webhook_secret",
        };
        tracing::error!(sink, from = %from, more, reason, "webhook refused");
        self.recorder.audit(AuditRow {
            actor: "unknown".to_owned(),
            role: "none".to_owned(),
            from_address: from.to_string(),
            action: "webhook".to_owned(),
            target: sink,
            result: "refused".to_owned(),
            detail: format!("{reason} ({more} more before)"),
            ..AuditRow::default()
        });
    }
}
