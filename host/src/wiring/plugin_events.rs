//! What happens to plugins: logged, audited, published, and reported to the driver.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use router_core::{
    event::{Event, FleetEvent, PolicyEvent},
    policy::PolicyKind,
};
use router_engine::{Conditions, Engine, EngineEvent};
use router_values::{AuditRow, HistoryRow};
use tokio::sync::mpsc;

use super::engine;
use crate::{alerting::handle::AlertsHandle, announcer::Announcer, evidence::EvidenceRecorder};

/// Takes the engine's events.
pub(crate) struct PluginWatcher {
    pub(crate) engine: Engine,
    pub(crate) plugins: mpsc::Receiver<EngineEvent>,
    pub(crate) recorder: Arc<EvidenceRecorder>,
    pub(crate) announcer: Arc<Announcer>,
    pub(crate) alerts: AlertsHandle,
    pub(crate) events: mpsc::Sender<Event>,
    /// Of which kind each plugin was when something last happened to it.
    pub(crate) kinds: BTreeMap<String, PolicyKind>,
}

/// The questions that plugins of a world answer.
fn kind_of(world: &str) -> Option<PolicyKind> {
    match world {
        "health-policy" => Some(PolicyKind::Health),
        "breaker-policy" => Some(PolicyKind::Breaker),
        "capacity-policy" => Some(PolicyKind::Capacity),
        _ => None,
    }
}

impl PluginWatcher {
    /// Runs until the engine or the driver has ended.
    pub(crate) async fn run(mut self) {
        let mut conditions = self.engine.conditions();
        let (mut unknown, mut logged) = (BTreeSet::new(), Vec::new());
        loop {
            let events = tokio::select! {
                event = self.plugins.recv() => match event {
                    Some(event) => self.note(&event),
                    None => return,
                },
                changed = conditions.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let Conditions { quarantined, faults, unknown: now, generations } =
                        conditions.borrow_and_update().clone();
                    self.warn_of(now.difference(&unknown));
                    unknown = now;
                    for reason in faults.iter().filter(|fault| !logged.contains(*fault)) {
                        tracing::warn!(reason, "policy does not answer as it is configured");
                    }
                    logged.clone_from(&faults);
                    vec![
                        FleetEvent::Plugins { quarantined, faults }.into(),
                        PolicyEvent::Generations(generations).into(),
                    ]
                }
            };
            for event in events {
                if self.events.send(event).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Notes what happened to a plugin; what the driver is to know of it.
    fn note(&mut self, event: &EngineEvent) -> Vec<Event> {
        engine::log(event);
        self.audit(event);
        let row = row(event);
        let change = match event {
            // What is loaded at the start is as it was before it.
            EngineEvent::Swapped {
                plugin, generation, ..
            } if *generation > 1 => Some(format!(
                "plugin {plugin}: generation {generation} in service"
            )),
            EngineEvent::Removed { plugin, .. } => Some(format!("plugin {plugin} removed")),
            _ => None,
        };
        if let Some(change) = change {
            self.alerts.changed(&change);
        }
        self.announcer.publish(row);
        // A refused candidate and a missing file change no answer.
        if let EngineEvent::Refused { .. } | EngineEvent::Missing { .. } = event {
            return Vec::new();
        }
        let kinds = self.kinds(event.plugin()).into_iter();
        kinds
            .map(|kind| PolicyEvent::Changed(kind).into())
            .collect()
    }

    /// Settings that are no plugin's.
    fn warn_of<'a>(&self, unknown: impl Iterator<Item = &'a String>) {
        for plugin in unknown {
            let reason = engine::unknown_settings(plugin, &self.engine);
            tracing::warn!(plugin, reason, "plugin settings without a plugin");
        }
    }

    /// Which questions a plugin answers, and answered until now: under its name another kind may have come.
    fn kinds(&mut self, plugin: &str) -> BTreeSet<PolicyKind> {
        let view = self.engine.show(plugin);
        let serving = view.filter(|view| view.generation > 0);
        let now = serving.and_then(|view| kind_of(view.world));
        let before = match now {
            Some(kind) => self.kinds.insert(plugin.to_owned(), kind),
            None => self.kinds.remove(plugin),
        };
        now.into_iter().chain(before).collect()
    }

    /// A change of what judges the fleet.
    fn audit(&self, event: &EngineEvent) {
        let (action, plugin, result, detail) = match event {
            EngineEvent::Swapped {
                plugin,
                generation,
                summary,
            } => (
                "plugin.swap",
                plugin,
                "ok",
                format!("generation {generation}: {summary}"),
            ),
            EngineEvent::Refused { plugin, reason, .. } => {
                ("plugin.swap", plugin, "refused", reason.clone())
            }
            EngineEvent::Held {
                plugin,
                generation,
                reason,
            } => (
                "plugin.hold",
                plugin,
                "ok",
                format!("generation {generation}: {reason}"),
            ),
            EngineEvent::Removed { plugin } => ("plugin.remove", plugin, "ok", String::new()),
            // The operator's own row says it.
            EngineEvent::Rejected { .. }
            | EngineEvent::Quarantined { .. }
            | EngineEvent::Released { .. }
            | EngineEvent::Lapsed { .. }
            | EngineEvent::Missing { .. } => return,
        };
        let row = AuditRow::by_router(action, plugin, result, detail);
        self.recorder.audit(row);
    }
}

/// What happened, as the history keeps it.
fn row(event: &EngineEvent) -> HistoryRow {
    let (to, reason) = match event {
        EngineEvent::Swapped {
            generation,
            summary,
            ..
        } => ("serving", format!("generation {generation}: {summary}")),
        EngineEvent::Refused { reason, .. } => ("refused", reason.clone()),
        EngineEvent::Held {
            generation, reason, ..
        } => ("held", format!("generation {generation}: {reason}")),
        EngineEvent::Rejected {
            generation,
            serving,
            ..
        } => (
            "rejected",
            match serving {
                0 => format!("generation {generation}: the built-in rule answers"),
                serving => format!("generation {generation}: generation {serving} is in force"),
            },
        ),
        EngineEvent::Quarantined { reason, .. } => ("quarantined", reason.clone()),
        EngineEvent::Released { .. } => ("released", "the plugin answers again".to_owned()),
        EngineEvent::Lapsed { .. } => ("released", "no policy uses the plugin".to_owned()),
        EngineEvent::Missing { plugin } if engine::is_sink(plugin) => {
            ("missing", "its deliveries wait".to_owned())
        }
        EngineEvent::Missing { .. } => ("missing", "the built-in rule answers".to_owned()),
        EngineEvent::Removed { .. } => ("removed", "its file is gone".to_owned()),
    };
    HistoryRow {
        axis: "plugin".to_owned(),
        subject: event.plugin().to_owned(),
        to: to.to_owned(),
        reason,
        ..HistoryRow::default()
    }
}
