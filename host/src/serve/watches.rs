//! What is watched beside the instances: the database, the plugins, the disks, and the users' table of versions.

use std::{path::PathBuf, sync::Arc, time::Duration};

use router_config::Config;
use router_core::{
    event::{Event, FleetEvent, PolicyEvent},
    policy::PolicyKind,
    view::{InstanceView, Lifecycle},
};
use router_engine::EngineEvent;
use router_store::VersionHeartbeat;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{clock::unix_ms, desk::Desk, guard::Guard};
use router_admin::{AuditEntry, Operations as _};

/// How often the disks are looked at: a disk fills in minutes at worst.
const DISKS_EVERY: Duration = Duration::from_secs(30);

/// How often the users' table hears of the instances: the heartbeat that its readers expect is 30 s old at most.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// A database that answers and whose rows cannot be read is asked again this often.
const RECALL_AGAIN: Duration = Duration::from_secs(2);

/// How long a refused login may be counted before it is told.
const LEFT_OUT_EVERY: Duration = Duration::from_secs(10);

/// Starts every watch. They end with `ends`. `has_recalled`: whether what only the database knows was read at the start.
pub(super) fn start(
    (config, has_recalled): (&Config, bool),
    desk: &Arc<Desk>,
    guard: &Arc<Guard>,
    (events, plugins): (mpsc::Sender<Event>, mpsc::Receiver<EngineEvent>),
    ends: &CancellationToken,
) -> TaskTracker {
    let tasks = TaskTracker::new();
    let disks = vec![
        config.server.data_dir.clone(),
        config.logging.dir.clone(),
        config.instances.socket_dir.clone(),
    ];
    let watch = |task: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
        let ends = ends.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = ends.cancelled() => {}
            }
        });
    };
    watch(Box::pin(watch_database(
        Arc::clone(desk),
        events.clone(),
        has_recalled,
    )));
    watch(Box::pin(watch_plugins(
        Arc::clone(desk),
        plugins,
        events.clone(),
    )));
    watch(Box::pin(watch_disks(disks, events)));
    watch(Box::pin(tell_versions(Arc::clone(desk))));
    watch(Box::pin(tell_left_out(Arc::clone(guard))));
    tasks
}

async fn watch_database(desk: Arc<Desk>, events: mpsc::Sender<Event>, mut has_recalled: bool) {
    let mut state = desk.store.state();
    let (mut was_connected, mut was_told) = (None, None);
    loop {
        let now = state.borrow_and_update().clone();
        let is_connected = now.is_connected();
        if was_connected.replace(is_connected) != Some(is_connected) {
            match &now {
                router_store::DatabaseState::Connected { .. } => {
                    tracing::info!(state = "connected", "database");
                }
                router_store::DatabaseState::Disconnected { reason, .. }
                | router_store::DatabaseState::Unusable { reason, .. } => {
                    tracing::error!(state = "disconnected", reason, "database");
                }
                router_store::DatabaseState::Closed => return,
            }
        }
        if is_connected && !has_recalled {
            has_recalled = recall(&desk).await;
        }
        // With the word that the database is there the core ends what no source claims: not before it was asked.
        let is_there = is_connected && has_recalled;
        if was_told.replace(is_there) != Some(is_there)
            && events
                .send(Event::Fleet(FleetEvent::Database(is_there)))
                .await
                .is_err()
        {
            return;
        }
        let is_to_recall = is_connected && !has_recalled;
        tokio::select! {
            changed = state.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep(RECALL_AGAIN), if is_to_recall => {}
        }
    }
}

/// What only the database knew when the router started without it, applied. False where it could not be read.
async fn recall(desk: &Desk) -> bool {
    if !super::rooms::take_over(&desk.applier.standing, &desk.store).await {
        return false;
    }
    let restored = desk.applier.restore().await;
    if let Err(error) = &restored {
        tracing::error!(error = %error, "registered instances were not applied");
    }
    restored.is_ok()
}

/// A change of what judges the fleet, for the audit.
fn note(desk: &Desk, event: &EngineEvent) {
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
    desk.keeping.audit(AuditEntry {
        actor: "router".into(),
        role: "router".into(),
        from: None,
        action,
        target: plugin.clone(),
        result,
        detail,
    });
}

async fn watch_plugins(
    desk: Arc<Desk>,
    mut plugins: mpsc::Receiver<EngineEvent>,
    events: mpsc::Sender<Event>,
) {
    while let Some(event) = plugins.recv().await {
        crate::engine::log(&event);
        note(&desk, &event);
        // What was refused, or is missing, changes no answer.
        let changes_answers = !matches!(
            event,
            EngineEvent::Refused { .. } | EngineEvent::Missing { .. }
        );
        let changed =
            changes_answers.then_some(Event::Policy(PolicyEvent::Changed(PolicyKind::Health)));
        let quarantined = Event::Fleet(FleetEvent::PluginsQuarantined(
            u32::try_from(desk.engine.quarantined()).unwrap_or(u32::MAX),
        ));
        for event in changed.into_iter().chain([quarantined]) {
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}

async fn watch_disks(paths: Vec<PathBuf>, events: mpsc::Sender<Event>) {
    let mut rounds = interval(DISKS_EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let paths = paths.clone();
        // A network file system may hang: not on a thread that others need.
        let Ok(fullest) = tokio::task::spawn_blocking(move || fullest(&paths)).await else {
            return;
        };
        if events
            .send(Event::Fleet(FleetEvent::Disk(fullest)))
            .await
            .is_err()
        {
            return;
        }
    }
}

/// The share in use of the fullest of these disks, as `df` counts it: what only root may use is not there.
fn fullest(paths: &[PathBuf]) -> f64 {
    let shares = paths.iter().filter_map(|path| {
        let stat = rustix::fs::statvfs(path).ok()?;
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        let usable = used + stat.f_bavail;
        (usable > 0).then(|| used as f64 / usable as f64)
    });
    shares.fold(0.0, f64::max)
}

/// Sees to it that no refused login stays only counted.
async fn tell_left_out(guard: Arc<Guard>) {
    let mut rounds = interval(LEFT_OUT_EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        guard.tell_left_out();
    }
}

/// Writes the state of the instances into the users' table, where there is one.
async fn tell_versions(desk: Arc<Desk>) {
    let mut rounds = interval(HEARTBEAT_EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        if !desk.store.state().borrow().is_connected() {
            continue;
        }
        let Ok(view) = desk.view().await else {
            continue;
        };
        let rows = view.instances.iter();
        let rows = rows
            .filter(|one| one.id.as_number().is_some())
            .map(|one| heartbeat(&desk, one));
        desk.store.heartbeat(rows.collect());
    }
}

fn heartbeat(desk: &Desk, view: &InstanceView) -> VersionHeartbeat {
    let plan = desk.plans.get(&view.id, view.source);
    let is_ready = view.lifecycle == Lifecycle::Ready;
    VersionHeartbeat {
        id: view.id.clone(),
        status: view.status.as_str().to_owned(),
        pid: view.pid,
        socket_path: plan.map(|plan| plan.definition.socket_path.clone()),
        error_message: view.last_error.clone(),
        heartbeat_ms: is_ready.then(|| i64::try_from(unix_ms()).unwrap_or(i64::MAX)),
    }
}
