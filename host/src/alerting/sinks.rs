//! Attempts at deliveries: through the sink's plugin, or into the log.

use std::sync::Arc;

use parking_lot::Mutex;
use router_alerts::{
    Severity,
    notice::{DeliveryError, Link, LinkTarget, Notice, NoticeAlert, Occasion, Receipt},
};
use router_delivery::Sink;
use router_engine::Engine;

/// The sink that is always there: the log.
pub(crate) const CONSOLE: &str = "console";

/// Where links of a notice lead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LinkBases {
    /// `alerts.runbook_url`: anchors are appended.
    pub(crate) runbook: Option<String>,
    /// `alerts.public_url`.
    pub(crate) public: Option<String>,
}

/// See the module.
pub(crate) struct SinkCaller {
    engine: Engine,
    links: Mutex<LinkBases>,
}

impl SinkCaller {
    /// A caller of the engine's sinks.
    pub(crate) fn new(engine: Engine, links: LinkBases) -> Arc<Self> {
        let links = Mutex::new(links);
        Arc::new(Self { engine, links })
    }

    /// Where links lead from now on.
    pub(crate) fn set_links(&self, links: LinkBases) {
        *self.links.lock() = links;
    }

    /// The runbook's section about the first alert, and the alert in the router.
    fn links_of(&self, listed: &[NoticeAlert]) -> Vec<Link> {
        let bases = self.links.lock().clone();
        let Some(first) = listed.first() else {
            return Vec::new();
        };
        let anchor = first.condition.runbook_anchor.as_deref();
        let runbook = bases.runbook.zip(anchor).map(|(base, anchor)| Link {
            target: LinkTarget::Runbook,
            url: format!("{}#{anchor}", base.trim_end_matches('#')),
        });
        let id = router_alerts::AlertId::of(&first.condition.key);
        let alert = bases.public.map(|base| Link {
            target: LinkTarget::Alert,
            url: format!("{}/api/alerts/{id}", base.trim_end_matches('/')),
        });
        runbook.into_iter().chain(alert).collect()
    }
}

impl Sink for SinkCaller {
    async fn deliver(
        &self,
        sink: Arc<str>,
        notice: Notice,
    ) -> Result<Option<Receipt>, DeliveryError> {
        if &*sink == CONSOLE {
            notice.alerts.iter().for_each(|alert| log(&notice, alert));
            return Ok(None);
        }
        let links = self.links_of(&notice.alerts);
        match self.engine.deliver(&sink, Notice { links, ..notice }).await {
            Some(Ok(answer)) => answer,
            Some(Err(failure)) => Err(DeliveryError::Other(failure.to_string())),
            None => Err(DeliveryError::Other(
                "no plugin serves the sink, or it is in quarantine".to_owned(),
            )),
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
