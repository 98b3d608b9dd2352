//! Samples of what the fleet uses, for the history of load.

use std::time::Duration;

use router_store::Store;
use router_values::unix_ms_now;
use tokio::time::{MissedTickBehavior, interval};

use crate::driver_handle::DriverHandle;

/// How often the fleet is sampled: a minute's peak is then that of thirty moments.
const INTERVAL: Duration = Duration::from_secs(2);

/// Samples until it is cancelled. The store writes each minute once it is over, and the last one as it is closed.
pub(crate) async fn run(store: Store, driver: DriverHandle) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A driver that is stuck or has ended is no usage of 0.
        if let Ok(usage) = driver.usage().await {
            store.record_load(unix_ms_now(), usage);
        }
    }
}
