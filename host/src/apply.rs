//! Applying configurations: the file at the start and at each reload, and instances that are registered while the router runs.
//!
//! Plans are written before the core hears of the specs they belong to, so that a spawn always finds its plan.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use router_access::{Access, AccessError};
use router_admin::{OperationError, ReloadReport, Result};
use router_config::{Config, Environment, Faults};
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
    standing::{Standing, StandingFile},
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

/// What a reload did, for the caller and for the other rooms.
pub(crate) struct Reloaded {
    pub(crate) report: ReloadReport,
    /// Whether somebody may have lost a right that an open stream was granted by.
    pub(crate) is_access_changed: bool,
}

/// Reads the configuration file and the environment.
pub(crate) fn read(path: &std::path::Path) -> anyhow::Result<std::result::Result<Config, Faults>> {
    use anyhow::Context as _;
    let environment =
        Environment::of_this_process().context("the working directory cannot be found")?;
    Ok(router_config::load_file(path, &environment))
}

/// Instances of one source as the core needs them, and what keeps the others from being launched.
#[derive(Debug, Default)]
pub(crate) struct Defined {
    pub(crate) specs: Vec<InstanceSpec>,
    plans: Vec<(InstanceId, Source, Plan)>,
    misfits: Vec<(String, Faults)>,
    /// Registered ids that the file defines.
    shadowed: Vec<String>,
}

impl Defined {
    /// The instances of the file. They cannot be faulty: the file was checked as a whole.
    pub(crate) fn in_file(config: &Config, standing: &Standing) -> Self {
        let mut defined = Self::default();
        for instance in &config.instance {
            let made = config.define(instance, Source::Config);
            defined.take((config, standing), instance.id.as_str(), made);
        }
        defined
    }

    /// The registered instances, by the rules of this configuration: a template that they were made from may be gone. An id
    /// that the file defines is the file's; its registration is kept for when the file drops it.
    pub(crate) fn registered(config: &Config, standing: &Standing) -> Self {
        let mut defined = Self::default();
        for (id, definition) in &standing.registered {
            let is_in_file = config.instance.iter().any(|one| one.id.as_str() == id);
            if is_in_file {
                defined.shadowed.push(id.clone());
                continue;
            }
            let made = router_config::parse_instance_json(&definition.to_string(), config);
            let made = made.and_then(|instance| config.define(&instance, Source::Api));
            defined.take((config, standing), id, made);
        }
        defined
    }

    fn take(
        &mut self,
        (config, standing): (&Config, &Standing),
        id: &str,
        made: std::result::Result<router_config::Definition, Faults>,
    ) {
        match made {
            Ok(definition) => {
                let plan = Plan::new(&definition, config);
                let mut spec = definition.spec;
                spec.stopped = standing.stopped.contains(spec.id.as_str());
                self.plans.push((spec.id.clone(), spec.source, plan));
                self.specs.push(spec);
            }
            Err(faults) => self.misfits.push((id.to_owned(), faults)),
        }
    }

    /// Says which instances are left out.
    pub(crate) fn log_left_out(&self) {
        for id in &self.shadowed {
            tracing::warn!(
                instance = %id,
                "the configuration file defines a registered instance: the file counts"
            );
        }
        for (id, faults) in &self.misfits {
            tracing::error!(
                instance = %id,
                error = %faults,
                "an instance is left out: its definition does not fit the configuration"
            );
        }
    }

    /// Puts the plans where the driver finds them, and gives the specs for the core.
    pub(crate) fn planned(self, plans: &Plans) -> Vec<InstanceSpec> {
        for (id, source, plan) in self.plans {
            plans.set(id, source, plan);
        }
        self.specs
    }
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

    /// Reads the file again and applies what changed. A faulty file changes nothing: everything that can be refused is looked
    /// at before the first change.
    pub(crate) async fn reload(&self) -> Result<Reloaded> {
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
        let access = access::settings(&new, self.listen);
        Access::new(&access).map_err(|errors| refused_access(&errors))?;
        let standing = self.standing.get();
        let registered = Defined::registered(&new, &standing);
        fit_as_before(&registered, &Defined::registered(&old, &standing))?;
        if new.logging.level != old.logging.level {
            self.set_log_level(new.logging.level.as_str())?;
        }
        self.access
            .replace(&access)
            .map_err(|errors| refused_access(&errors))?;
        registered.log_left_out();
        let settings = Box::new(self.settings(&new));
        let file = Defined::in_file(&new, &standing).planned(&self.plans);
        let registered = registered.planned(&self.plans);
        ask(&self.asks, APPLY_WITHIN, |done| Ask::Apply {
            settings,
            file,
            registered,
            done,
        })
        .await?;
        let plugins = self.engine.reconfigure(engine::settings(&new)).await;
        for gone in &change.instances.removed {
            self.plans.remove(gone, Source::Config);
        }
        *self.config.lock() = Arc::new(new);
        self.tell_policies();
        let names = |ids: &BTreeSet<InstanceId>| ids.iter().map(ToString::to_string).collect();
        let mut changed = change.instances.changed.clone();
        changed.extend(change.adjusted.iter().cloned());
        let is_access_changed = change.tokens
            || change
                .live
                .iter()
                .any(|key| key.starts_with("server.loopback_roles"));
        let report = ReloadReport {
            added: names(&change.instances.added),
            removed: names(&change.instances.removed),
            changed: names(&changed),
            applied: change.live,
            needs_restart,
            refused_plugins: plugins.refused,
        };
        tracing::info!(
            added = report.added.len(),
            removed = report.removed.len(),
            changed = report.changed.len(),
            needs_restart = ?report.needs_restart,
            "configuration applied"
        );
        Ok(Reloaded {
            report,
            is_access_changed,
        })
    }

    /// Applies the registered instances as they are known now.
    pub(crate) async fn restore(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let registered = Defined::registered(&self.config(), &self.standing.get());
        registered.log_left_out();
        let registered = registered.planned(&self.plans);
        ask(&self.asks, APPLY_WITHIN, |done| Ask::Restore {
            registered,
            done,
        })
        .await?;
        self.tell_policies();
        Ok(())
    }

    /// Tells the engine which plugins are in use now.
    pub(crate) fn tell_policies(&self) {
        let config = self.config();
        let registered = Defined::registered(&config, &self.standing.get());
        let policies = engine::policies(&config, &registered.specs);
        self.engine.use_policies(policies);
    }

    /// Takes in an instance by its JSON definition. It is kept in the database, which must be there for it.
    pub(crate) async fn register(&self, text: String) -> Result<InstanceId> {
        let _turn = self.turn.lock().await;
        let config = self.config();
        let instance = router_config::parse_instance_json(&text, &config).map_err(invalid)?;
        let definition: Value = serde_json::from_str(&text)
            .map_err(|error| OperationError::Invalid(vec![error.to_string()]))?;
        let id = instance.id.clone();
        let instance_id = id.clone();
        let (holder, count) = ask(&self.asks, APPLY_WITHIN, |reply| Ask::Holder {
            instance: instance_id,
            reply,
        })
        .await?;
        if let Some(source) = holder {
            return Err(OperationError::Conflict(format!(
                "instance {id} is there already, {}",
                defined_in(source)
            )));
        }
        if count >= config.instances.max_instances {
            return Err(OperationError::Conflict(format!(
                "there are {count} instances already, as many as instances.max_instances allows"
            )));
        }
        let made = config.define(&instance, Source::Api).map_err(invalid)?;
        self.store
            .register(&id, &definition)
            .await
            .map_err(store_error)?;
        let noted = self.stand(|standing| {
            standing.registered.insert(id.to_string(), definition);
        });
        if let Err(error) = noted {
            // Kept in the one place and not in the other it would be neither there nor free.
            if let Err(undo) = self.store.unregister(&id).await {
                tracing::error!(instance = %id, error = %undo, "a registration that failed half-way stays in the database");
            }
            return Err(error);
        }
        let plan = Plan::new(&made, &config);
        self.plans.set(id.clone(), Source::Api, plan);
        let spec = Box::new(made.spec);
        ask(&self.asks, APPLY_WITHIN, |done| Ask::Add { spec, done }).await?;
        self.tell_policies();
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
        self.plans.remove(&id, Source::Api);
        self.tell_policies();
        Ok(())
    }

    /// Whether an operator stopped an instance, as it was noted last.
    pub(crate) fn is_noted_stopped(&self, id: &InstanceId) -> bool {
        self.standing.get().stopped.contains(id.as_str())
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

    fn stand(&self, change: impl FnOnce(&mut Standing)) -> Result<()> {
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

/// A configuration that registered instances do not fit any more is refused: it would stop them without a word.
fn fit_as_before(now: &Defined, before: &Defined) -> Result<()> {
    let is_news = |id: &str| before.misfits.iter().all(|(misfit, _)| misfit != id);
    let news = now.misfits.iter().filter(|(id, _)| is_news(id));
    let faults: Vec<String> = news
        .map(|(id, faults)| {
            let faults = faults.to_string();
            format!(
                "the registered instance {id} would not fit: {}; DELETE /api/instances/{id} first, or keep what it needs",
                faults.trim_end()
            )
        })
        .collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(OperationError::Invalid(faults))
}

fn refused_access(errors: &[AccessError]) -> OperationError {
    OperationError::Invalid(errors.iter().map(ToString::to_string).collect())
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
