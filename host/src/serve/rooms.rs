//! Each room's options from the configuration, and what the driver asks of the rooms.

use std::{sync::Arc, time::Duration};

use router_admin::Figures;
use router_config::Config;
use router_core::{
    InstanceId,
    action::{CrashRecord, Transition},
    policy::Question,
    view::FleetView,
};
use router_engine::Engine;
use router_store::{Secret, Store, StoreOptions};
use router_supervisor::{DataDir, SupervisorConfig};
use router_telemetry::{LogFormat, LogOptions};

use crate::{
    announce::Announcer,
    driver::{Asking, Rooms},
    keeping::Keeping,
    meters::Meters,
    standing::StandingFile,
};

/// How long the start waits for the database before it starts without it.
const RECALL_WITHIN: Duration = Duration::from_secs(3);

pub(super) fn store_options(config: &Config, data_dir: &DataDir) -> StoreOptions {
    let storage = &config.storage;
    StoreOptions {
        password: storage
            .password
            .as_ref()
            .map(|secret| Secret::new(secret.expose())),
        pool_size: storage.pool_size,
        idle_timeout: storage.pool_idle_timeout,
        acquire_timeout: storage.acquire_timeout,
        query_timeout: storage.query_timeout,
        epoch: data_dir.epoch(),
        versions_table: Some(storage.versions_table.to_string()),
        audit_retention_days: config.audit.retention_days,
        audit_log: config.audit.enabled,
        ..StoreOptions::new(
            storage.url.secret().expose(),
            data_dir.path(),
            data_dir.router_id(),
        )
    }
}

pub(super) fn log_options(config: &Config) -> LogOptions {
    let logging = &config.logging;
    LogOptions {
        dir: Some(logging.dir.clone()),
        level: logging.level.as_str().to_owned(),
        format: match logging.format {
            router_config::LogFormat::Text => LogFormat::Text,
            router_config::LogFormat::Json => LogFormat::Json,
        },
        keep_days: (logging.retention_days > 0).then_some(logging.retention_days),
        keep_bytes: logging.max_total_bytes,
        rotate_bytes: logging.max_file_bytes,
    }
}

pub(super) fn supervisor_config(config: &Config, data_dir: &DataDir) -> SupervisorConfig {
    let instances = &config.instances;
    SupervisorConfig {
        log_bytes_max: instances.logs.max_file_bytes,
        log_files_max: instances.logs.max_files,
        epoch: data_dir.epoch(),
        memory_interval: instances.memory_interval,
        router_exit_grace: instances.router_exit_grace,
        use_cgroup: instances.use_cgroup,
        ..SupervisorConfig::new(
            &instances.socket_dir,
            config.logging.instances_dir(),
            data_dir.router_id(),
        )
    }
}

/// Brings the copy of what the database keeps up to date. False where the database does not answer in time.
pub(super) async fn recall(standing: &StandingFile, store: &Store) -> bool {
    let mut state = store.state();
    let connected = state.wait_for(router_store::DatabaseState::is_connected);
    if tokio::time::timeout(RECALL_WITHIN, connected)
        .await
        .is_err()
    {
        tracing::warn!("the router starts without its database, from what it noted before");
        return false;
    }
    take_over(standing, store).await
}

/// Takes over what the database keeps, which answers. False where it could not be read.
pub(super) async fn take_over(standing: &StandingFile, store: &Store) -> bool {
    // What an earlier life could not tell the database counts for more than what stands there.
    if !store.flush(RECALL_WITHIN).await {
        tracing::warn!("the database has not taken in yet what an earlier life left for it");
        return false;
    }
    let read = async {
        Ok::<_, router_store::StoreError>((store.registered().await?, store.intentions().await?))
    };
    let (registered, intentions) = match read.await {
        Ok(read) => read,
        Err(error) => {
            tracing::warn!(error = %error, "registered instances are taken from what was noted before");
            return false;
        }
    };
    let changed = tokio::task::block_in_place(|| {
        standing.change(|held| {
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
        tracing::error!(error = %error, "what must be known at the next start was not noted");
    }
    true
}

/// The rooms as the driver sees them.
pub(super) struct Wired {
    pub(super) engine: Engine,
    pub(super) keeping: Arc<Keeping>,
    pub(super) announcer: Arc<Announcer>,
    pub(super) meters: Arc<Meters>,
}

impl Rooms for Wired {
    fn ask(&self, policy: &Arc<str>, question: &Question) -> Asking {
        let rooms = (self.engine.clone(), Arc::clone(&self.meters));
        crate::engine::ask(rooms, Arc::clone(policy), question)
    }

    fn keep_crash(&self, record: CrashRecord) {
        if !record.was_ready {
            self.meters.failed_to_start();
        }
        self.keeping.crash(&record);
    }

    fn forget_crashes(&self, instance: &InstanceId) {
        self.keeping.forget(instance);
    }

    fn let_go(&self, instance: &InstanceId) {
        self.keeping.let_go(instance);
    }

    fn announce(&self, transition: Transition) {
        self.announcer.announce(transition);
    }

    fn take_in(&self, view: Arc<FleetView>) {
        self.meters.take_in(view);
    }

    fn lagged(&self, lag: Duration) {
        self.meters.lagged(lag);
    }

    fn late_reply(&self) {
        self.meters.late_reply();
    }

    fn figures(&self, instance: &InstanceId) -> Figures {
        self.meters.figures(Some(instance))
    }
}
