//! The rooms as the driver calls them.

use std::{sync::Arc, time::Duration};

use router_core::{
    ErrorKind, InstanceId,
    action::{CrashRecord, Transition},
    policy::{Ask, PolicyAction, PolicyKind},
    view::FleetView,
};
use router_engine::Engine;
use router_telemetry::{Count, Figures};

use super::engine;
use crate::{
    announcer::Announcer,
    driver::{Asking, Ports},
    evidence::EvidenceRecorder,
    meters::RouterMeters,
};

/// See the module.
pub(crate) struct ConnectedRooms {
    pub(crate) engine: Engine,
    pub(crate) recorder: Arc<EvidenceRecorder>,
    pub(crate) announcer: Arc<Announcer>,
    pub(crate) meters: Arc<RouterMeters>,
}

impl Ports for ConnectedRooms {
    fn ask(&self, policy: &Arc<str>, ask: &Ask) -> Asking {
        let (engine, meters) = (self.engine.clone(), Arc::clone(&self.meters));
        engine::ask(engine, meters, Arc::clone(policy), ask)
    }

    fn carry_out(&self, action: &PolicyAction) {
        self.engine.carry_out(action);
    }

    fn keep_crash(&self, record: CrashRecord) {
        if !record.was_ready {
            self.meters.metrics.count_error(ErrorKind::Spawn);
        }
        self.recorder.record_crash(&record);
    }

    fn forget_crashes(&self, instance: &InstanceId) {
        self.recorder.clear(instance);
    }

    fn instance_added(&self, instance: &InstanceId) {
        self.meters.metrics.add_instance(instance);
    }

    fn instance_removed(&self, instance: &InstanceId) {
        self.meters.metrics.remove_instance(instance);
        self.recorder.forget_held(instance);
    }

    fn announce(&self, transition: Transition) {
        self.announcer.announce(transition);
    }

    fn set_view(&self, view: Arc<FleetView>) {
        self.meters.metrics.set_fleet(view);
    }

    fn observe_lag(&self, lag: Duration) {
        self.meters.metrics.observe_loop_lag(lag);
    }

    fn count_late_reply(&self) {
        self.meters.metrics.count(Count::LateReplyDropped);
    }

    fn count_refused_plan(&self, policy: &str, kind: PolicyKind) {
        self.meters
            .metrics
            .count_refused_plan(policy, kind.as_str());
    }

    fn meter_tools(&self, instance: &InstanceId, tools: &[Arc<str>]) {
        self.meters.metrics.set_tools(instance, tools);
    }

    fn figures(&self, instance: &InstanceId) -> Figures {
        self.meters.figures(Some(instance))
    }
}
