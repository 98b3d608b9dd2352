//! Applying configurations: the file at the start and at each reload, and instances that are registered while the router runs.
//!
//! Plans are written before the core hears of the specs they belong to, so that a spawn always finds its plan.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use router_access::Access;
use router_admin::{OperationError, ReloadReport, Result};
use router_config::{Config, Environment, Faults, InstanceConfig};
use router_core::{
    InstanceId,
    settings::Settings,
    spec::{InstanceSpec, Source},
};
use router_engine::Engine;
use router_store::Store;
use router_telemetry::LogControl;
use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use crate::{
    access,
    desk::{ask, store_error},
    driver::Ask,
    engine,
    launch::{Plan, Plans},
    standing::StandingFile,
};

/// How long the driver may take to apply a configuration.
const APPLY_WITHIN: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Applier {
    pub(crate) path: PathBuf,
    pub(crate) config: Mutex<Arc<Config>>,
    /// What the router was started with.
    pub(crate) started: Arc<Config>,
    /// Where the router listens.
    pub(crate) listen: SocketAddr,
    /// Reloads and registrations take turns.
    pub(crate) turn: AsyncMutex<()>,
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) plans: Arc<Plans>,
    pub(crate) standing: Arc<StandingFile>,
    pub(crate) store: Store,
    pub(crate) access: Arc<Access>,
    pub(crate) engine: Engine,
    pub(crate) logs: LogControl,
    /// Of the core's settings, what the configuration does not hold.
    pub(crate) seed: u64,
    pub(crate) first_run: u64,
}

/// Reads the configuration file and the environment.
pub(crate) fn read(path: &std::path::Path) -> anyhow::Result<std::result::Result<Config, Faults>> {
    use anyhow::Context as _;
    let environment =
        Environment::of_this_process().context("the working directory cannot be found")?;
    Ok(router_config::load_file(path, &environment))
}

/// Every instance of a source as the core and the shims need it. Those of the file cannot be faulty; one that was registered
/// under an earlier configuration can, and is left out with a word.
pub(crate) fn define(
    config: &Config,
    source: Source,
    instances: &[InstanceConfig],
    (plans, stopped): (&Plans, &BTreeSet<String>),
) -> Vec<InstanceSpec> {
    let mut specs = Vec::with_capacity(instances.len());
    for instance in instances {
        match config.define(instance, source) {
            Ok(definition) => {
                let mut spec = definition.spec.clone();
                spec.stopped = stopped.contains(spec.id.as_str());
                plans.set(spec.id.clone(), Plan::new(&definition, config));
                specs.push(spec);
            }
            Err(faults) => tracing::error!(
                instance = %instance.id,
                error = %faults,
                "an instance is left out: its definition does not fit the configuration"
            ),
        }
    }
    specs
}

/// The registered instances, by the rules of the present configuration.
pub(crate) fn registered(config: &Config, standing: &StandingFile) -> Vec<InstanceConfig> {
    let mut all = Vec::new();
    for (id, definition) in standing.get().registered {
        match router_config::parse_instance_json(&definition.to_string(), config) {
            Ok(instance) => all.push(instance),
            Err(faults) => tracing::error!(
                instance = %id,
                error = %faults,
                "a registered instance is left out: its definition does not fit the configuration"
            ),
        }
    }
    all
}

impl Applier {
    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock())
    }

    /// The core's settings by a configuration.
    pub(crate) fn settings(&self, config: &Config) -> Settings {
        config.core_settings(self.seed, self.first_run)
    }

    /// Reads the file again and applies what changed. A faulty file changes nothing.
    pub(crate) async fn reload(&self) -> Result<ReloadReport> {
        let _turn = self.turn.lock().await;
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        let read = read.map_err(|error| OperationError::Failed(error.to_string()))?;
        let new = read
            .map_err(|error| OperationError::Invalid(vec![format!("{error:#}")]))?
            .map_err(invalid)?;
        let old = self.config();
        let change = old.diff(&new);
        // What takes a restart is compared with what is in force since the start, not with the last file.
        let needs_restart = self.started.diff(&new).restart;
        let new = new.with_fixed_of(&self.started);
        self.access
            .replace(&access::settings(&new, self.listen))
            .map_err(|errors| {
                OperationError::Invalid(errors.iter().map(ToString::to_string).collect())
            })?;
        if new.logging.level != old.logging.level {
            self.set_log_level(new.logging.level.as_str())?;
        }
        let standing = self.standing.get();
        let marks = (&*self.plans, &standing.stopped);
        let ours = define(&new, Source::Config, &new.instance, marks);
        let theirs = define(&new, Source::Api, &registered(&new, &self.standing), marks);
        let settings = Box::new(self.settings(&new));
        ask(&self.asks, APPLY_WITHIN, |done| Ask::Apply {
            settings,
            specs: ours,
            done,
        })
        .await?;
        ask(&self.asks, APPLY_WITHIN, |done| Ask::Restore {
            source: Source::Api,
            specs: theirs,
            done,
        })
        .await?;
        self.engine.reconfigure(engine::settings(&new)).await;
        for gone in &change.instances.removed {
            self.plans.remove(gone);
        }
        *self.config.lock() = Arc::new(new);
        let names = |ids: &BTreeSet<InstanceId>| ids.iter().map(ToString::to_string).collect();
        let mut changed = change.instances.changed.clone();
        changed.extend(change.adjusted.iter().cloned());
        let report = ReloadReport {
            added: names(&change.instances.added),
            removed: names(&change.instances.removed),
            changed: names(&changed),
            applied: change.live,
            needs_restart,
        };
        tracing::info!(
            added = report.added.len(),
            removed = report.removed.len(),
            changed = report.changed.len(),
            needs_restart = ?report.needs_restart,
            "configuration applied"
        );
        Ok(report)
    }

    /// Applies the registered instances as they are known now.
    pub(crate) async fn restore(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let config = self.config();
        let standing = self.standing.get();
        let marks = (&*self.plans, &standing.stopped);
        let registered = registered(&config, &self.standing);
        let specs = define(&config, Source::Api, &registered, marks);
        let source = Source::Api;
        ask(&self.asks, APPLY_WITHIN, |done| Ask::Restore {
            source,
            specs,
            done,
        })
        .await
    }

    /// Takes in an instance by its JSON definition. It is kept in the database, which must be there for it.
    pub(crate) async fn register(&self, definition: Value) -> Result<InstanceId> {
        let _turn = self.turn.lock().await;
        let config = self.config();
        let text = definition.to_string();
        let instance = router_config::parse_instance_json(&text, &config).map_err(invalid)?;
        let id = instance.id.clone();
        let view = ask(&self.asks, APPLY_WITHIN, Ask::View).await?;
        if let Some(known) = view.instance(&id) {
            return Err(OperationError::Conflict(format!(
                "instance {id} is there already, {}",
                defined_in(known.source)
            )));
        }
        if view.instances.len() >= config.instances.max_instances {
            return Err(OperationError::Conflict(format!(
                "there are {} instances already, as many as instances.max_instances allows",
                view.instances.len()
            )));
        }
        let made = config.define(&instance, Source::Api).map_err(invalid)?;
        self.store
            .register(&id, &definition)
            .await
            .map_err(store_error)?;
        self.stand(|standing| {
            standing.registered.insert(id.to_string(), definition);
        })?;
        self.plans.set(id.clone(), Plan::new(&made, &config));
        let spec = Box::new(made.spec);
        ask(&self.asks, APPLY_WITHIN, |done| Ask::Add { spec, done }).await?;
        Ok(id)
    }

    /// Removes an instance that was registered.
    pub(crate) async fn unregister(&self, id: InstanceId, source: Source) -> Result<()> {
        let _turn = self.turn.lock().await;
        if source != Source::Api {
            return Err(OperationError::Conflict(format!(
                "instance {id} is {}; remove it there",
                defined_in(source)
            )));
        }
        self.store.unregister(&id).await.map_err(store_error)?;
        self.stand(|standing| {
            standing.registered.remove(id.as_str());
            standing.stopped.remove(id.as_str());
        })?;
        let instance = id.clone();
        ask(&self.asks, APPLY_WITHIN, |done| Ask::Remove {
            instance,
            done,
        })
        .await?;
        self.plans.remove(&id);
        Ok(())
    }

    /// Notes that an operator stopped an instance, or started it, for the next start of the router.
    pub(crate) fn note_stopped(&self, id: &InstanceId, stopped: bool) {
        self.store.set_intention(id, stopped);
        let noted = self.stand(|standing| {
            if stopped {
                standing.stopped.insert(id.to_string());
            } else {
                standing.stopped.remove(id.as_str());
            }
        });
        if let Err(error) = noted {
            tracing::error!(instance = %id, error = %error, "a decision of an operator was not noted");
        }
    }

    fn stand(&self, change: impl FnOnce(&mut crate::standing::Standing)) -> Result<()> {
        let written = tokio::task::block_in_place(|| self.standing.change(change));
        written.map_err(|error| OperationError::Failed(crate::driver::chain(&error)))
    }

    /// The log level in force.
    pub(crate) fn log_level(&self) -> String {
        self.logs.level()
    }

    /// Changes the log level until the router ends.
    pub(crate) fn set_log_level(&self, level: &str) -> Result<()> {
        self.logs
            .set_level(level)
            .map_err(|error| OperationError::Invalid(vec![error.to_string()]))
    }
}

fn invalid(faults: Faults) -> OperationError {
    // Each fault with its place, as the whole would show it.
    let each = faults.faults.into_iter().map(|fault| {
        let one = Faults {
            file: faults.file.clone(),
            faults: vec![fault],
        };
        one.to_string()
    });
    OperationError::Invalid(each.collect())
}

fn defined_in(source: Source) -> &'static str {
    match source {
        Source::Config => "defined in the configuration file",
        Source::Api => "registered with POST /api/instances",
        Source::Database => "a row of the table of versions",
        Source::Discovery => "found under the projects path",
    }
}
