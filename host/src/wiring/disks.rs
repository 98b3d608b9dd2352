//! How full the disks are that the router writes to.

use std::{path::PathBuf, time::Duration};

use router_config::Config;
use router_core::event::{Event, FleetEvent};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

/// How often the disks are read: a disk fills in minutes at worst.
const INTERVAL: Duration = Duration::from_secs(30);

/// Reports how full the fullest disk is, until the driver ends.
pub(crate) async fn watch(paths: Vec<PathBuf>, events: mpsc::Sender<Event>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let paths = paths.clone();
        // A network file system may hang: not on a thread that others need.
        let Ok(fullest) = tokio::task::spawn_blocking(move || fullest(&paths)).await else {
            return;
        };
        if events.send(FleetEvent::Disk(fullest).into()).await.is_err() {
            return;
        }
    }
}

/// Where the router writes.
pub(crate) fn paths(config: &Config) -> Vec<PathBuf> {
    vec![
        config.server.data_dir.clone(),
        config.logging.dir.clone(),
        config.instances.socket_dir.clone(),
    ]
}

/// The share in use of the disk that holds a path, as `df` counts it: what only root may use counts as absent. `None` where
/// it cannot be read.
pub(crate) fn share_in_use(path: &std::path::Path) -> Option<f64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let usable = used + stat.f_bavail;
    (usable > 0).then(|| used as f64 / usable as f64)
}

fn fullest(paths: &[PathBuf]) -> f64 {
    let shares = paths.iter().filter_map(|path| share_in_use(path));
    shares.fold(0.0, f64::max)
}
