//! Attempts at deliveries: through the sink's plugin, or into the log.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use router_alerts::{
    AlertId, AlertRef, Severity,
    link::AckLink,
    notice::{DeliveryError, Link, LinkTarget, Notice, NoticeAlert, OVER, Occasion, Receipt},
};
use router_delivery::Sink;
use router_engine::Engine;
use router_telemetry::AttemptResult;
use router_values::whole_ms;
use tokio::time::Instant;

use super::figures;
use crate::{meters::RouterMeters, wiring::links::AckLinks};

/// The sink that is always there: the log.
pub(crate) const CONSOLE: &str = "console";

/// See the module.
pub(crate) struct SinkCaller {
    engine: Engine,
    /// `alerts.runbook_url`: anchors are appended.
    runbook_url: Mutex<Option<String>>,
    links: Arc<AckLinks>,
    meters: Arc<RouterMeters>,
}

/// An attempt under way. One that is dropped had no more time.
struct OpenAttempt<'a> {
    meters: &'a RouterMeters,
    sink: Arc<str>,
    result: AttemptResult,
}

impl Drop for OpenAttempt<'_> {
    fn drop(&mut self) {
        let meters = self.meters.metrics.alerts();
        meters.count_attempt(&self.sink, self.result);
    }
}

impl SinkCaller {
    /// A caller of the engine's sinks.
    pub(crate) fn new(
        engine: Engine,
        runbook_url: Option<String>,
        links: Arc<AckLinks>,
        meters: Arc<RouterMeters>,
    ) -> Arc<Self> {
        Arc::new(Self {
            engine,
            runbook_url: Mutex::new(runbook_url),
            links,
            meters,
        })
    }

    /// Where links lead from now on.
    pub(crate) fn set_links(&self, runbook_url: Option<String>, public_url: Option<String>) {
        *self.runbook_url.lock() = runbook_url;
        self.links.set_public_url(public_url);
    }

    /// What to acknowledge by, the runbook's section about the first alert, and the alert in the router.
    fn links_of(&self, sink: &Arc<str>, notice: &Notice) -> Vec<Link> {
        let Some(first) = notice.alerts.first() else {
            return Vec::new();
        };
        let acknowledge = ack_link(sink, notice).and_then(|link| self.links.address(&link));
        let anchor = first.condition.runbook_anchor.as_deref();
        let runbook_url = self.runbook_url.lock().clone().zip(anchor);
        let runbook =
            runbook_url.map(|(base, anchor)| format!("{}#{anchor}", base.trim_end_matches('#')));
        let id = AlertId::of(&first.condition.key);
        let alert = self.links.public_url();
        let alert = alert.map(|base| format!("{base}/api/alerts/{id}"));
        let links = [
            (LinkTarget::Acknowledge, acknowledge),
            (LinkTarget::Runbook, runbook),
            (LinkTarget::Alert, alert),
        ];
        let link = |(target, url): (LinkTarget, Option<String>)| Some(Link { target, url: url? });
        links.into_iter().filter_map(link).collect()
    }
}

/// What the link in a notice acknowledges: the first of its alerts that nobody is on. What is over, or acknowledged, needs nobody.
fn ack_link(sink: &Arc<str>, notice: &Notice) -> Option<AckLink> {
    let is_over = notice.attributes.iter().any(|(name, _)| name == OVER);
    if is_over
        || matches!(
            notice.occasion,
            Occasion::Resolved | Occasion::Acknowledged(_)
        )
    {
        return None;
    }
    let is_open =
        |alert: &&NoticeAlert| alert.resolved_ms.is_none() && alert.acknowledged_by.is_none();
    let alert = notice.alerts.iter().find(is_open)?;
    let firing = match notice.occasion {
        Occasion::Test => AckLink::TEST,
        _ => alert.firing()?,
    };
    Some(AckLink {
        about: AlertRef {
            alert: AlertId::of(&alert.condition.key),
            firing,
        },
        sent_ms: notice.now_ms,
        sink: Arc::clone(sink),
    })
}

impl Sink for SinkCaller {
    async fn deliver(
        &self,
        sink: Arc<str>,
        notice: Notice,
    ) -> Result<Option<Receipt>, DeliveryError> {
        let mut attempt = OpenAttempt {
            meters: &self.meters,
            sink: Arc::clone(&sink),
            result: AttemptResult::Timeout,
        };
        if &*sink == CONSOLE {
            notice.alerts.iter().for_each(|alert| log(&notice, alert));
            attempt.result = AttemptResult::Delivered;
            return Ok(None);
        }
        let entry = format!("sink.{sink}");
        let begun = Instant::now();
        // After a start plugins are compiled first: that is no failure of the sink, which its fallback would have to take the place of.
        let within = Duration::from_millis(notice.deadline_ms / 2);
        self.engine.loaded(&entry, within).await;
        let waited_ms = whole_ms(begun.elapsed());
        let notice = Notice {
            links: self.links_of(&sink, &notice),
            deadline_ms: notice.deadline_ms.saturating_sub(waited_ms),
            ..notice
        };
        let answer = self.engine.deliver(&sink, notice).await;
        attempt.result = figures::attempt_result(answer.as_ref());
        match answer {
            Some(Ok(answer)) => answer.delivered,
            Some(Err(failure)) => Err(DeliveryError::Other(failure.to_string())),
            None => Err(DeliveryError::Other(self.engine.why_silent(&entry))),
        }
    }
}

/// The line of one alert. A test is no trouble, and what is over or acknowledged is none any more.
fn log(notice: &Notice, alert: &NoticeAlert) {
    let condition = &alert.condition;
    let (severity, name) = (condition.severity.as_str(), condition.name.as_str());
    let instance = condition.instance.as_ref().map(|id| id.as_str());
    let (summary, remedy) = (condition.summary.as_str(), condition.remedy.as_str());
    let state = notice.occasion.as_str();
    macro_rules! line {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                instance,
                severity,
                name,
                state,
                reason = summary,
                remedy,
                $message
            )
        };
    }
    match (&notice.occasion, condition.severity) {
        (Occasion::Resolved, _) => line!(info, "alert resolved"),
        (Occasion::Acknowledged(_), _) => line!(info, "alert acknowledged"),
        (Occasion::Test, _) => line!(info, "alert test"),
        (_, Severity::P1 | Severity::P2) => line!(error, "alert"),
        (_, Severity::P3) => line!(warn, "alert"),
        (_, Severity::P4) => line!(info, "alert"),
    }
}
