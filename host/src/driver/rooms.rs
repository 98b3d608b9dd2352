//! What the driver asks of the rooms that it does not speak to over a channel. The app implements it; none of it blocks.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use router_core::{
    InstanceId,
    action::{CrashRecord, Transition},
    policy::{Answer, NoAnswer, Question},
    view::FleetView,
};
use router_telemetry::Figures;

/// What a policy will say, or why it says nothing.
pub(crate) type Asking = Pin<Box<dyn Future<Output = Result<Answer, NoAnswer>> + Send>>;

/// See the module.
pub(crate) trait Rooms: Send + Sync {
    /// Asks a policy. The driver bounds the wait.
    fn ask(&self, policy: &Arc<str>, question: &Question) -> Asking;

    /// Keeps crash evidence.
    fn keep_crash(&self, record: CrashRecord);

    /// Forgets crash evidence.
    fn forget_crashes(&self, instance: &InstanceId);

    /// There is an instance more. Comes before any request can reach it.
    fn added(&self, instance: &InstanceId);

    /// An instance is no more.
    fn let_go(&self, instance: &InstanceId);

    /// Tells people of a change of state.
    fn announce(&self, transition: Transition);

    /// Takes in which instances there are. Comes before any request can reach a new one.
    fn take_in(&self, view: Arc<FleetView>);

    /// How much later than it was due the loop turned.
    fn lagged(&self, lag: Duration);

    /// An instance answered what nobody waits for.
    fn late_reply(&self);

    /// What its requests were like in the last 5 minutes.
    fn figures(&self, instance: &InstanceId) -> Figures;
}
