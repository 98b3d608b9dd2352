//! Alerts as the configuration has them, for the loop, the schedule and the rules.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use router_alerts::{
    delivery::{SinkSchedule, SinkTable},
    settings::Grouping,
};
use router_config::{Config, SinkConfig, WebAddress};
use router_core::event::{Event, FleetEvent};
use router_delivery::JournalState;
use tokio::sync::{mpsc, watch};

use crate::alerting::heartbeat::HeartbeatUrl;

/// Attempts of one sink at once.
const AT_ONCE_MAX: u32 = 4;

/// The rules that are asked.
pub(crate) fn rules(config: &Config) -> Arc<[Arc<str>]> {
    config.alerts.settings.rules.as_slice().into()
}

/// `alerts.runbook_url` and `alerts.public_url`: where links of a notice lead.
pub(crate) fn link_bases(config: &Config) -> (Option<String>, Option<String>) {
    let text = |url: &WebAddress| url.to_string();
    let alerts = &config.alerts;
    (
        alerts.runbook_url.as_ref().map(text),
        alerts.public_url.as_ref().map(text),
    )
}

/// `alerts.heartbeat_url`.
pub(crate) fn heartbeat_url(config: &Config) -> Option<HeartbeatUrl> {
    let url = config.alerts.heartbeat_url.clone()?;
    // The configuration has refused what is no address.
    let address = WebAddress::parse(url.expose()).ok()?;
    let origin = address.origin().clone();
    Some(HeartbeatUrl { url, origin })
}

/// Reports whether what becomes of alerts is kept, until the journal or the driver has ended.
pub(crate) async fn watch_journal(
    mut journal: watch::Receiver<JournalState>,
    events: mpsc::Sender<Event>,
) {
    let mut reported = true;
    loop {
        let is_kept = journal.borrow_and_update().refusing.is_none();
        if is_kept != std::mem::replace(&mut reported, is_kept) {
            let event = FleetEvent::AlertJournal(is_kept).into();
            if events.send(event).await.is_err() {
                return;
            }
        }
        if journal.changed().await.is_err() {
            return;
        }
    }
}

/// What the schedule must know of each sink.
///
/// # Errors
/// Fallbacks lead nowhere, which the configuration has refused before.
pub(crate) fn table(config: &Config) -> anyhow::Result<SinkTable> {
    let sinks = config.sinks.iter().map(|(name, sink)| SinkSchedule {
        sink: name.as_str().into(),
        interval_ms: router_values::whole_ms(sink.rate.interval()),
        at_once_max: AT_ONCE_MAX,
        fallback: sink.settings.fallback.clone(),
        is_per_alert: sink.settings.grouping == Grouping::None,
        generation: generation(sink),
    });
    Ok(SinkTable::new(sinks)?)
}

/// Another number where what it is made of is another.
fn generation(sink: &SinkConfig) -> u64 {
    let mut hasher = DefaultHasher::new();
    sink.plugin.as_str().hash(&mut hasher);
    sink.config.to_string().hash(&mut hasher);
    for (name, secret) in &sink.secrets {
        (name, secret.expose()).hash(&mut hasher);
    }
    for origin in &sink.allow {
        origin.to_string().hash(&mut hasher);
    }
    sink.ca_file.hash(&mut hasher);
    if let Some(proxy) = &sink.proxy {
        let credentials = proxy.credentials().map(|secret| secret.expose());
        (proxy.origin().to_string(), credentials).hash(&mut hasher);
    }
    hasher.finish()
}
