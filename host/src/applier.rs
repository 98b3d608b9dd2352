//! Applying configurations: the file at the start and at each reload, and instances that are registered while the router runs.
//!
//! Plans are written before the core hears of the specs they belong to, so that a spawn always finds its plan.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use router_access::Access;
use router_admin::{OperationError, ReloadReport, Result};
use router_config::{Config, ConfigChange, Named};
use router_core::{
    InstanceId,
    event::{Event, FleetEvent},
    settings::Settings,
    spec::Source,
};
use router_engine::Engine;
use router_store::Store;
use router_telemetry::LogControl;
use router_values::LogFilter;
use serde_json::Value;
use tokio::sync::Mutex as AsyncMutex;

use crate::{
    alerting::open::AlertConfigurator,
    definitions::{DefinedInstances, RefusedDefinition},
    driver_handle::DriverHandle,
    error_chain::chain,
    instance_plan::{InstancePlan, InstancePlans},
    operation_errors as errors,
    policies_in_use::PoliciesInUse,
    recovery_snapshot::{RecoverySnapshot, SnapshotChange},
    wiring::{access, config, engine},
};

/// See the module.
pub(crate) struct ConfigApplier {
    pub(crate) path: PathBuf,
    pub(crate) config: Mutex<Arc<Config>>,
    /// What the router was started with.
    pub(crate) started: Arc<Config>,
    /// Where the router listens.
    pub(crate) listen: SocketAddr,
    /// Held by the one reload or registration that is under way.
    pub(crate) lock: AsyncMutex<()>,
    pub(crate) driver: DriverHandle,
    pub(crate) plans: Arc<InstancePlans>,
    pub(crate) snapshot: Arc<RecoverySnapshot>,
    pub(crate) store: Store,
    pub(crate) access: Arc<Access>,
    pub(crate) engine: Engine,
    pub(crate) alerts: AlertConfigurator,
    pub(crate) policies: Mutex<PoliciesInUse>,
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

impl ConfigApplier {
    /// The configuration in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock())
    }

    /// The core's settings by a configuration.
    pub(crate) fn settings(&self, config: &Config) -> Settings {
        config.core_settings(self.seed, self.first_run)
    }

    /// What the core is given before anything else. `is_restored`: whether the registrations were read from the database.
    pub(crate) fn first_events(&self, is_restored: bool) -> Vec<Event> {
        let (config, snapshot) = (self.config(), self.snapshot.get());
        let registered = DefinedInstances::registered(&config, &snapshot);
        registered.log_left_out();
        self.use_policies(PoliciesInUse::of(&config, &registered.specs));
        let events = [
            FleetEvent::SpecsApplied {
                source: Source::Config,
                specs: DefinedInstances::in_file(&config, &snapshot).publish(&self.plans),
            },
            FleetEvent::SpecsApplied {
                source: Source::Api,
                specs: registered.publish(&self.plans),
            },
            FleetEvent::Database(is_restored),
        ];
        events.map(Event::Fleet).into()
    }

    /// Reads the file again and applies what changed. A faulty file changes nothing: everything that can be refused is checked
    /// before the first change.
    pub(crate) async fn reload(&self) -> Result<Reloaded> {
        let _lock = self.lock.lock().await;
        let new = self.read_file().await?;
        let old = self.config();
        let change = old.diff(&new);
        // What takes a restart is compared with what is in force since the start, not with the last file.
        let needs_restart = self.started.diff(&new).restart;
        let new = new.with_fixed_of(&self.started);
        let access = access::settings(&new, self.listen);
        Access::new(&access).map_err(|errors| errors::of_access(&errors))?;
        let snapshot = self.snapshot.get();
        let registered = DefinedInstances::registered(&new, &snapshot);
        check_registered(&registered, &DefinedInstances::registered(&old, &snapshot))?;
        if new.logging.level != old.logging.level {
            self.logs.set_level(new.logging.level.clone());
        }
        self.access
            .replace(&access)
            .map_err(|errors| errors::of_access(&errors))?;
        registered.log_left_out();
        let policies = PoliciesInUse::of(&new, &registered.specs);
        let settings = self.settings(&new);
        let file = DefinedInstances::in_file(&new, &snapshot).publish(&self.plans);
        let registered = registered.publish(&self.plans);
        self.driver.apply(settings, file, registered).await?;
        let plugins = self.engine.reconfigure(engine::settings(&new)).await;
        for gone in &change.instances.removed {
            self.plans.remove(gone, Source::Config);
        }
        let alerts = self.alerts.apply(&new).await;
        alerts.map_err(|error| OperationError::Failed(format!("{error:#}")))?;
        *self.config.lock() = Arc::new(new);
        self.use_policies(policies);
        let reloaded = Reloaded {
            is_access_changed: changes_access(&change),
            report: ReloadReport {
                needs_restart,
                refused_plugins: plugins.refused,
                ..report(change)
            },
        };
        log_applied(&reloaded.report);
        Ok(reloaded)
    }

    async fn read_file(&self) -> Result<Config> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || config::read(&path)).await;
        let read = read.map_err(|error| OperationError::Failed(error.to_string()))?;
        read.map_err(|error| OperationError::Invalid(vec![format!("{error:#}")]))?
            .map_err(errors::of_faults)
    }

    /// Applies the registered instances as they are known now.
    pub(crate) async fn restore(&self) -> Result<()> {
        let _lock = self.lock.lock().await;
        let config = self.config();
        let registered = DefinedInstances::registered(&config, &self.snapshot.get());
        registered.log_left_out();
        let policies = PoliciesInUse::of(&config, &registered.specs);
        self.driver.restore(registered.publish(&self.plans)).await?;
        self.use_policies(policies);
        Ok(())
    }

    /// Gives the engine the plugins that policies name.
    fn use_policies(&self, policies: PoliciesInUse) {
        self.engine.use_policies(policies.names());
        *self.policies.lock() = policies;
    }

    /// Applies a change of the policies in use to the engine, where it changes any.
    fn update_policies(&self, change: impl FnOnce(&mut PoliciesInUse) -> bool) {
        let mut policies = self.policies.lock();
        if change(&mut policies) {
            self.engine.use_policies(policies.names());
        }
    }

    /// Adds an instance by its JSON definition. It is kept in the database, which must be there for it.
    pub(crate) async fn register(&self, text: String) -> Result<InstanceId> {
        let _lock = self.lock.lock().await;
        let config = self.config();
        let instance =
            router_config::parse_instance_json(&text, &config).map_err(errors::of_faults)?;
        let definition: Value = serde_json::from_str(&text)
            .map_err(|error| OperationError::Invalid(vec![error.to_string()]))?;
        let id = instance.id.clone();
        self.check_free(&config, &id).await?;
        let made = config
            .define(&instance, Source::Api)
            .map_err(errors::of_faults)?;
        self.store
            .register(&id, &definition)
            .await
            .map_err(errors::of_store)?;
        let written = self.record(SnapshotChange::Registered {
            id: id.clone(),
            definition,
        });
        if let Err(error) = written {
            // Kept in the one place and not in the other it would be neither there nor free.
            if let Err(undo) = self.store.unregister(&id).await {
                tracing::error!(instance = %id, error = %undo, "failed registration not removed from the database");
            }
            return Err(error);
        }
        let plan = InstancePlan::new(&made, &config);
        self.plans.set(id.clone(), Source::Api, plan);
        self.driver.add(made.spec.clone()).await?;
        self.update_policies(|policies| policies.add(&made.spec));
        Ok(id)
    }

    /// Whether one more instance may be called so.
    async fn check_free(&self, config: &Config, id: &InstanceId) -> Result<()> {
        let (holder, count) = self.driver.holder(id.clone()).await?;
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
        Ok(())
    }

    /// Removes an instance that was registered.
    pub(crate) async fn unregister(&self, id: InstanceId, source: Source) -> Result<()> {
        let _lock = self.lock.lock().await;
        if source != Source::Api {
            return Err(OperationError::Conflict(format!(
                "instance {id} is {}; remove it there",
                defined_in(source)
            )));
        }
        self.store.unregister(&id).await.map_err(errors::of_store)?;
        self.record(SnapshotChange::Unregistered { id: id.clone() })?;
        self.driver.remove(id.clone()).await?;
        self.plans.remove(&id, Source::Api);
        self.update_policies(|policies| policies.remove(&id));
        Ok(())
    }

    /// Whether an operator stopped an instance, as it was noted last.
    pub(crate) fn is_noted_stopped(&self, id: &InstanceId) -> bool {
        self.snapshot.is_stopped(id)
    }

    /// Notes that an operator stopped an instance, or started it, for the next start of the router.
    pub(crate) fn note_stopped(&self, id: &InstanceId, stopped: bool) {
        self.store.set_intention(id, stopped);
        let change = if stopped {
            SnapshotChange::Stopped { id: id.clone() }
        } else {
            SnapshotChange::Started { id: id.clone() }
        };
        if let Err(error) = self.record(change) {
            tracing::error!(instance = %id, error = %error, "recovery snapshot not written");
        }
    }

    fn record(&self, change: SnapshotChange) -> Result<()> {
        let written = tokio::task::block_in_place(|| self.snapshot.record(change));
        written.map_err(|error| OperationError::Failed(chain(&error)))
    }

    /// The log level in force.
    pub(crate) fn log_level(&self) -> String {
        self.logs.level().to_string()
    }

    /// Changes the log level until the router ends.
    pub(crate) fn set_log_level(&self, level: &str) -> Result<()> {
        const REMEDY: &str = "use error, warn, info, debug, trace or off, or levels by target such as info,router_proxy=debug";
        let filter = LogFilter::parse(level);
        let filter =
            filter.map_err(|error| OperationError::Invalid(vec![format!("{error}: {REMEDY}")]))?;
        self.logs.set_level(filter);
        Ok(())
    }
}

/// A configuration that rejects registered instances which the one before took is refused: it would stop them silently.
fn check_registered(now: &DefinedInstances, before: &DefinedInstances) -> Result<()> {
    let faults: Vec<String> = now
        .newly_rejected(before)
        .map(|RefusedDefinition { id, faults }| {
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

/// Whether somebody may have lost a right.
fn changes_access(change: &ConfigChange) -> bool {
    let grants = [
        "server.loopback_roles",
        "server.allowed_hosts",
        "server.allowed_origins",
        "alerts.public_url",
    ];
    let is_grant = |key: &String| grants.iter().any(|grant| key.starts_with(grant));
    change.tokens || change.live.iter().any(is_grant)
}

/// What changed, for the caller.
fn report(change: ConfigChange) -> ReloadReport {
    let names = |ids: &BTreeSet<InstanceId>| ids.iter().map(ToString::to_string).collect();
    let mut changed = change.instances.changed;
    changed.extend(change.adjusted);
    let Named {
        added,
        removed,
        changed: changed_sinks,
    } = change.sinks;
    let sinks = added.into_iter().chain(removed).chain(changed_sinks);
    let sinks: BTreeSet<String> = sinks.map(|sink| format!("sink.{sink}")).collect();
    ReloadReport {
        added: names(&change.instances.added),
        removed: names(&change.instances.removed),
        changed: names(&changed),
        applied: change.live.into_iter().chain(sinks).collect(),
        ..ReloadReport::default()
    }
}

fn log_applied(report: &ReloadReport) {
    tracing::info!(
        added = report.added.len(),
        removed = report.removed.len(),
        changed = report.changed.len(),
        needs_restart = ?report.needs_restart,
        "configuration applied"
    );
}

fn defined_in(source: Source) -> &'static str {
    match source {
        Source::Config => "defined in the configuration file",
        Source::Api => "registered with POST /api/instances",
        Source::Database => "a row of the table of versions",
        Source::Discovery => "found under the projects path",
    }
}
