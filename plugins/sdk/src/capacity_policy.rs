//! Capacity policies: the world `capacity-policy`.

use crate::{
    Settings,
    kind::{kind_bindings, kind_trait},
};

kind_bindings!(
    "export_capacity",
    "package router:sdk-capacity; world capacity { export router:capacity/capacity@0.2.0; }"
);

pub use bindings::exports::router::capacity::capacity::{
    CapacityPlan, Day, Forecast, History, Limit, Load, Measure, Minute, TemplateLoad, Usage,
};

kind_trait! {
    /// A capacity policy. Implement it, then [`crate::export_capacity_policy!`] it.
    pub trait CapacityPolicy {
        /// Plans for the fleet.
        #[must_use]
        fn plan(load: &Load, history: &History, settings: &Settings) -> CapacityPlan;
    }
}

impl CapacityPlan {
    /// There should be room for so many running instances, because of this.
    pub fn new(required: u32, reason: impl Into<String>) -> Self {
        Self {
            required,
            reason: reason.into(),
            limits: Vec::new(),
            forecasts: Vec::new(),
            attributes: Vec::new(),
        }
    }

    /// The same plan, with a limit.
    #[must_use]
    pub fn with_limit(mut self, limit: Limit) -> Self {
        self.limits.push(limit);
        self
    }

    /// The same plan, with a forecast.
    #[must_use]
    pub fn with_forecast(mut self, forecast: Forecast) -> Self {
        self.forecasts.push(forecast);
        self
    }
}

impl Limit {
    /// So much at most; what would help is what a client reads that is refused.
    pub fn new(of: Measure, most: u64, refusal: impl Into<String>) -> Self {
        Self {
            of,
            most,
            refusal: refusal.into(),
            attributes: Vec::new(),
        }
    }
}

impl Forecast {
    /// It is reached then, as an operator reads it.
    pub fn new(of: Measure, at_ms: u64, summary: impl Into<String>) -> Self {
        Self {
            of,
            at_ms,
            summary: summary.into(),
            attributes: Vec::new(),
        }
    }
}

/// Nothing in use.
impl Default for Usage {
    fn default() -> Self {
        Self {
            running: 0,
            in_flight: 0,
            memory_bytes: 0,
        }
    }
}

/// A fleet of nothing on a machine with 16 GiB and four processors, to start a test from.
impl Default for Load {
    fn default() -> Self {
        Self {
            now_ms: 1_800_000_000_000,
            instances: 0,
            usage: Usage::default(),
            memory_total_bytes: 16 << 30,
            memory_free_bytes: 16 << 30,
            processors: 4,
            templates: Vec::new(),
            attributes: Vec::new(),
        }
    }
}

/// Nothing was before.
impl Default for History {
    fn default() -> Self {
        Self {
            minutes: Vec::new(),
            days: Vec::new(),
            attributes: Vec::new(),
        }
    }
}

impl Day {
    /// A day.
    #[must_use]
    pub fn new(at_ms: u64, mean: Usage, peak: Usage) -> Self {
        Self {
            at_ms,
            mean,
            peak,
            attributes: Vec::new(),
        }
    }
}

/// Makes a [`CapacityPolicy`] the plugin that this crate is built to. For wasm only: natively it does nothing, so that tests run.
#[macro_export]
macro_rules! export_capacity_policy {
    ($policy:ident) => {
        $crate::export_plugin! {
            $policy, capacity_policy::CapacityPolicy, capacity::capacity by export_capacity,
            plan(load: Load, history: History) -> CapacityPlan = plan
        }
    };
}
