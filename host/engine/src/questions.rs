//! What the router asks plugins: one method per kind that is served. They are not generic, so that what wasmtime makes of a kind's
//! types is compiled here, and not once more in each crate that asks.

use router_alerts::{Condition, facts::FleetFacts, notice::Notice};
use router_core::{
    breaker::plan::{BreakerPlan, BreakerProfile},
    capacity::{CapacityLoad, CapacityPlan},
    health::{HealthFacts, HealthVerdict},
};

use crate::{
    engine::Engine,
    failure::CallFailure,
    kinds::{BreakerKind, CapacityKind, HealthKind, RuleKind, SinkKind, sink::SinkAnswer},
    sinks::entry_of,
};

impl Engine {
    /// Asks a health policy about one slot: the generation in force, or the candidate of that number. `None`: no such policy is loaded, or it is in quarantine.
    ///
    /// # Errors
    /// It failed.
    pub async fn judge(
        &self,
        policy: &str,
        candidate: Option<u64>,
        facts: HealthFacts,
    ) -> Option<Result<HealthVerdict, CallFailure>> {
        self.ask::<HealthKind>((policy, candidate), facts).await
    }

    /// Asks a breaker policy for the plan of one instance, the generation in force or a candidate. `None`: no such policy is loaded, or it is in quarantine.
    ///
    /// # Errors
    /// It failed. A plan that is out of bounds is an answer: [`BreakerPlan::check`] says so.
    pub async fn plan_breaker(
        &self,
        policy: &str,
        candidate: Option<u64>,
        profile: BreakerProfile,
    ) -> Option<Result<BreakerPlan, CallFailure>> {
        self.ask::<BreakerKind>((policy, candidate), profile).await
    }

    /// Asks a capacity policy about the fleet, the generation in force or a candidate. `None`: no such policy is loaded, or it is in quarantine.
    ///
    /// # Errors
    /// It failed.
    pub async fn plan_capacity(
        &self,
        policy: &str,
        candidate: Option<u64>,
        load: CapacityLoad,
    ) -> Option<Result<CapacityPlan, CallFailure>> {
        self.ask::<CapacityKind>((policy, candidate), load).await
    }

    /// Asks an alert rule which conditions hold. `None`: no such rule is loaded, or it is in quarantine; that resolves nothing.
    ///
    /// # Errors
    /// It failed, or its answer is out of bounds: that resolves nothing either.
    pub async fn evaluate(
        &self,
        rule: &str,
        fleet: FleetFacts,
    ) -> Option<Result<Vec<Condition>, CallFailure>> {
        self.ask::<RuleKind>((rule, None), fleet).await
    }

    /// Has a sink deliver a notice. `None`: no such sink is loaded, or it is in quarantine.
    ///
    /// # Errors
    /// The sink failed. That it could not deliver is an answer.
    pub async fn deliver(
        &self,
        sink: &str,
        notice: Notice,
    ) -> Option<Result<SinkAnswer, CallFailure>> {
        self.ask::<SinkKind>((&entry_of(sink), None), notice).await
    }

    /// How long a judgement takes, recording included, so many times, in microseconds. For measuring tools.
    pub async fn measure_judge(
        &self,
        policy: &str,
        facts: HealthFacts,
        times: usize,
    ) -> Option<Vec<f64>> {
        self.measure_calls::<HealthKind>(policy, facts, times).await
    }
}
