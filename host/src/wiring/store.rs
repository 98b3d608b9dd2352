//! The store's options, and what follows when its database comes and goes.

use std::{sync::Arc, time::Duration};

use router_config::Config;
use router_core::event::{Event, FleetEvent};
use router_store::{DatabaseState, Store, StoreError, StoreOptions};
use router_supervisor::DataDir;
use tokio::sync::mpsc;

use crate::{applier::ConfigApplier, recovery_snapshot::RecoverySnapshot};

/// How long the start waits for the database before it goes on without it.
const RESTORE_WITHIN: Duration = Duration::from_secs(3);

/// A database that answers and whose rows cannot be read is asked again this often.
const RESTORE_RETRY: Duration = Duration::from_secs(2);

/// Which database, and how it is used.
pub(crate) fn options(config: &Config, data_dir: &DataDir) -> StoreOptions {
    let storage = &config.storage;
    StoreOptions {
        password: storage.password.clone(),
        pool_size: storage.pool_size,
        idle_timeout: storage.pool_idle_timeout,
        acquire_timeout: storage.acquire_timeout,
        query_timeout: storage.query_timeout,
        epoch: data_dir.epoch(),
        versions_table: Some(storage.versions_table.to_string()),
        audit_retention_days: config.audit.retention_days,
        audit_log: config.audit.enabled,
        ..StoreOptions::new(storage.url.clone(), data_dir.path(), data_dir.router_id())
    }
}

/// Brings the snapshot up to date at the start. False where the database does not answer in time.
pub(crate) async fn restore_at_start(snapshot: &RecoverySnapshot, store: &Store) -> bool {
    let mut state = store.state();
    let connected = state.wait_for(DatabaseState::is_connected);
    if tokio::time::timeout(RESTORE_WITHIN, connected)
        .await
        .is_err()
    {
        tracing::warn!("starting without the database, from the recovery snapshot");
        return false;
    }
    restore(snapshot, store).await
}

/// Brings the snapshot up to date from the database, which answers. False where it could not be read.
async fn restore(snapshot: &RecoverySnapshot, store: &Store) -> bool {
    // What an earlier life could not write yet takes precedence over the rows that are there.
    if !store.flush(RESTORE_WITHIN).await {
        tracing::warn!(
            "registrations not read: rows of an earlier life still wait for the database"
        );
        return false;
    }
    let read =
        async { Ok::<_, StoreError>((store.registered().await?, store.intentions().await?)) };
    let (registered, intentions) = match read.await {
        Ok(read) => read,
        Err(error) => {
            tracing::warn!(error = %error, "registrations not read from the database");
            return false;
        }
    };
    let changed = tokio::task::block_in_place(|| {
        snapshot.update(|held| {
            held.registered = registered
                .into_iter()
                .map(|one| (one.id.to_string(), one.definition))
                .collect();
            held.stopped.extend(
                intentions
                    .iter()
                    .filter(|one| one.stopped)
                    .map(|one| one.id.to_string()),
            );
        })
    });
    if let Err(error) = changed {
        tracing::error!(error = %error, "recovery snapshot not written");
    }
    true
}

/// Reports whether the database is there, and reads what only it knows once it is.
pub(crate) struct DatabaseWatcher {
    pub(crate) store: Store,
    pub(crate) applier: Arc<ConfigApplier>,
    pub(crate) events: mpsc::Sender<Event>,
    /// Whether registrations were read at the start.
    pub(crate) is_restored: bool,
}

impl DatabaseWatcher {
    /// Runs until the store is closed or the driver has ended.
    pub(crate) async fn run(mut self) {
        let mut state = self.store.state();
        let (mut was_connected, mut reported) = (None, None);
        loop {
            let now = state.borrow_and_update().clone();
            let is_connected = now.is_connected();
            if was_connected.replace(is_connected) != Some(is_connected) {
                match &now {
                    DatabaseState::Connected { .. } => tracing::info!("database connected"),
                    DatabaseState::Disconnected { reason, .. }
                    | DatabaseState::Unusable { reason, .. } => {
                        tracing::error!(reason, "database disconnected");
                    }
                    DatabaseState::Closed => return,
                }
            }
            if is_connected && !self.is_restored {
                self.is_restored = self.restore().await;
            }
            // On this event the core ends instances that no source defines: not before the registrations were read.
            let is_usable = is_connected && self.is_restored;
            if reported.replace(is_usable) != Some(is_usable)
                && self
                    .events
                    .send(FleetEvent::Database(is_usable).into())
                    .await
                    .is_err()
            {
                return;
            }
            let must_restore = is_connected && !self.is_restored;
            tokio::select! {
                changed = state.changed() => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(RESTORE_RETRY), if must_restore => {}
            }
        }
    }

    /// Applies what only the database knew when the router started without it. False where it could not be read.
    async fn restore(&self) -> bool {
        if !restore(&self.applier.snapshot, &self.store).await {
            return false;
        }
        let restored = self.applier.restore().await;
        if let Err(error) = &restored {
            tracing::error!(error = %error, "registered instances not applied");
        }
        restored.is_ok()
    }
}
