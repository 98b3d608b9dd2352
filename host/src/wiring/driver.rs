//! The rooms as the driver calls them.

use std::{sync::Arc, time::Duration};

use router_core::{
    InstanceId,
    action::{CrashRecord, Transition},
    policy::Question,
    view::FleetView,
};
use router_engine::Engine;
use router_telemetry::Figures;

use super::engine;
use crate::{
    announcer::Announcer,
    driver::{Asking, Rooms},
    evidence::EvidenceRecorder,
    meters::Meters,
};

/// See the module.
pub(crate) struct ConnectedRooms {
    pub(crate) engine: Engine,
    pub(crate) recorder: Arc<EvidenceRecorder>,
    pub(crate) announcer: Arc<Announcer>,
    pub(crate) meters: Arc<Meters>,
}

impl Rooms for ConnectedRooms {
    fn ask(&self, policy: &Arc<str>, question: &Question) -> Asking {
        let rooms = (self.engine.clone(), Arc::clone(&self.meters));
        engine::ask(rooms, Arc::clone(policy), question)
    }

    fn keep_crash(&self, record: CrashRecord) {
        if !record.was_ready {
            self.meters.count_failed_start();
        }
        self.recorder.record_crash(&record);
    }

    fn forget_crashes(&self, instance: &InstanceId) {
        self.recorder.clear(instance);
    }

    fn added(&self, instance: &InstanceId) {
        self.meters.add_instance(instance);
    }

    fn let_go(&self, instance: &InstanceId) {
        self.meters.remove_instance(instance);
        self.recorder.forget_held(instance);
    }

    fn announce(&self, transition: Transition) {
        self.announcer.announce(transition);
    }

    fn take_in(&self, view: Arc<FleetView>) {
        self.meters.set_fleet(view);
    }

    fn lagged(&self, lag: Duration) {
        self.meters.observe_lag(lag);
    }

    fn late_reply(&self) {
        self.meters.count_late_reply();
    }

    fn figures(&self, instance: &InstanceId) -> Figures {
        self.meters.figures(Some(instance))
    }
}
