//! The state of the instances in the users' own table of versions, where there is one.

use std::{sync::Arc, time::Duration};

use router_core::view::{InstanceView, Lifecycle};
use router_store::{Store, VersionHeartbeat};
use router_values::unix_ms_now;
use tokio::time::{MissedTickBehavior, interval};

use crate::{driver_handle::DriverHandle, instance_plan::InstancePlans};

/// The readers of the table expect a heartbeat that is 30 s old at most.
const INTERVAL: Duration = Duration::from_secs(10);

/// Writes the heartbeats.
pub(crate) struct VersionHeartbeats {
    pub(crate) store: Store,
    pub(crate) driver: DriverHandle,
    pub(crate) plans: Arc<InstancePlans>,
}

impl VersionHeartbeats {
    /// Runs until it is cancelled.
    pub(crate) async fn run(self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !self.store.state().borrow().is_connected() {
                continue;
            }
            let Ok(view) = self.driver.view().await else {
                continue;
            };
            let rows = view.instances.iter();
            let rows = rows.filter(|one| one.id.as_number().is_some());
            self.store
                .heartbeat(rows.map(|one| self.row(one)).collect());
        }
    }

    fn row(&self, view: &InstanceView) -> VersionHeartbeat {
        let plan = self.plans.get(&view.id, view.source);
        let is_ready = view.lifecycle == Lifecycle::Ready;
        VersionHeartbeat {
            id: view.id.clone(),
            status: view.status.as_str().to_owned(),
            pid: view.pid,
            socket_path: plan.map(|plan| plan.definition.socket_path.clone()),
            error_message: view.last_error.clone(),
            heartbeat_ms: is_ready.then(|| i64::try_from(unix_ms_now()).unwrap_or(i64::MAX)),
        }
    }
}
