//! What the driver needs of other rooms besides its channels. The wiring implements it; none of it blocks.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use router_core::{
    InstanceId,
    action::{CrashRecord, Transition},
    policy::{Answer, Ask, NoAnswer, PolicyAction, PolicyKind},
    view::FleetView,
};
use router_telemetry::Figures;

/// What a policy will say, or why it says nothing.
pub(crate) type Asking = Pin<Box<dyn Future<Output = Result<Answer, NoAnswer>> + Send>>;

/// See the module.
pub(crate) trait Ports: Send + Sync {
    /// Asks a policy, one of those that are asked. The driver bounds the wait.
    fn ask(&self, policy: &Arc<str>, ask: &Ask) -> Asking;

    /// Puts another generation of a policy in force, or holds one.
    fn carry_out(&self, action: &PolicyAction);

    /// Keeps crash evidence.
    fn keep_crash(&self, record: CrashRecord);

    /// Forgets crash evidence.
    fn forget_crashes(&self, instance: &InstanceId);

    /// There is an instance more. Comes before a route to it is published.
    fn instance_added(&self, instance: &InstanceId);

    /// An instance is gone for good.
    fn instance_removed(&self, instance: &InstanceId);

    /// Announces a change of state.
    fn announce(&self, transition: Transition);

    /// The fleet as it is now.
    fn set_view(&self, view: Arc<FleetView>);

    /// The loop woke so much later than it was due.
    fn observe_lag(&self, lag: Duration);

    /// An instance answered a request that had been given up.
    fn count_late_reply(&self);

    /// A policy of this kind gave a plan that is none.
    fn count_refused_plan(&self, policy: &str, kind: PolicyKind);

    /// Calls of these tools are counted apart from now on. Comes before a route says so.
    fn meter_tools(&self, instance: &InstanceId, tools: &[Arc<str>]);

    /// What its requests were like in the last 5 minutes.
    fn figures(&self, instance: &InstanceId) -> Figures;
}
