//! What happens to plugins: logged, audited, and reported to the driver.

use std::sync::Arc;

use router_core::{
    event::{Event, FleetEvent, PolicyEvent},
    policy::PolicyKind,
};
use router_engine::{Engine, EngineEvent};
use router_values::AuditRow;
use tokio::sync::mpsc;

use super::engine;
use crate::evidence::EvidenceRecorder;

/// Takes the engine's events.
pub(crate) struct PluginWatcher {
    pub(crate) engine: Engine,
    pub(crate) plugins: mpsc::Receiver<EngineEvent>,
    pub(crate) recorder: Arc<EvidenceRecorder>,
    pub(crate) events: mpsc::Sender<Event>,
}

impl PluginWatcher {
    /// Runs until the engine or the driver has ended.
    pub(crate) async fn run(mut self) {
        while let Some(event) = self.plugins.recv().await {
            engine::log(&event);
            self.audit(&event);
            // A refused candidate and a missing file change no answer.
            let changes_answers = !matches!(
                event,
                EngineEvent::Refused { .. } | EngineEvent::Missing { .. }
            );
            // Which kind a plugin is may have changed with its file: all that are asked may have another answer now.
            let kinds = [PolicyKind::Health, PolicyKind::Capacity];
            let changed = kinds.map(|kind| PolicyEvent::Changed(kind).into());
            let changed = changed.into_iter().filter(|_| changes_answers);
            let quarantined = u32::try_from(self.engine.quarantined()).unwrap_or(u32::MAX);
            let quarantined = FleetEvent::PluginsQuarantined(quarantined).into();
            for event in changed.chain([quarantined]) {
                if self.events.send(event).await.is_err() {
                    return;
                }
            }
        }
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
            EngineEvent::Removed { plugin } => ("plugin.remove", plugin, "ok", String::new()),
            EngineEvent::Quarantined { .. }
            | EngineEvent::Released { .. }
            | EngineEvent::Lapsed { .. }
            | EngineEvent::Missing { .. } => return,
        };
        let row = AuditRow::by_router(action, plugin, result, detail);
        self.recorder.audit(row);
    }
}
