//! What alert rules are asked about, gathered from the rooms. Reading it waits for the driver and for nothing else: disks are read
//! beside, so that a file system that hangs hides no other condition.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use router_admin::Result;
use router_alerts::facts::{
    DiskFacts, FleetFacts, FleetPage, FleetTotals, InstanceFacts, LimitFacts, PAGE_INSTANCES_MAX,
    PluginFacts, PluginRefusal, RouterState, SinkFacts,
};
use router_core::view::{CapacityView, FleetView, InstanceView, SlotView};
use router_engine::{CandidateState, Engine, PluginView};
use router_store::{DatabaseState, Store};
use router_values::unix_ms_now;

use crate::{
    clock::Clock, driver_handle::DriverHandle, instance_plan::InstancePlans, meters::RouterMeters,
    wiring::disks::share_in_use,
};

/// The rooms that know it.
pub(crate) struct FactSources {
    pub(crate) clock: Clock,
    pub(crate) driver: DriverHandle,
    pub(crate) plans: Arc<InstancePlans>,
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) meters: Arc<RouterMeters>,
    pub(crate) disks: Arc<DiskGauge>,
}

impl FactSources {
    /// The fleet as it is now, in pages; none while instances of an earlier life are being found, and while the router ends: what does
    /// not run then is no trouble.
    ///
    /// # Errors
    /// The driver does not answer.
    pub(crate) async fn gather(&self, sinks: Vec<SinkFacts>) -> Result<Vec<FleetFacts>> {
        let view = self.driver.view().await?;
        if view.shutting_down || !view.adoption_finished {
            return Ok(Vec::new());
        }
        self.disks.refresh();
        let router = Arc::new(self.router(&view, sinks));
        let now_ms = unix_ms_now();
        let instances: Vec<InstanceFacts> = view
            .instances
            .iter()
            .map(|one| self.instance(one))
            .collect();
        let count = instances.len().div_ceil(PAGE_INSTANCES_MAX).max(1);
        let mut pages: Vec<Vec<InstanceFacts>> = Vec::with_capacity(count);
        let mut rest = instances.into_iter();
        for _ in 0..count {
            pages.push(rest.by_ref().take(PAGE_INSTANCES_MAX).collect());
        }
        let page = |(number, instances)| FleetFacts {
            now_ms,
            page: FleetPage {
                number,
                count: u32::try_from(count).unwrap_or(u32::MAX),
            },
            instances,
            router: Arc::clone(&router),
        };
        Ok((0..).zip(pages).map(page).collect())
    }

    fn instance(&self, view: &InstanceView) -> InstanceFacts {
        let plan = self.plans.get(&view.id, view.source);
        let figures = self.meters.figures(Some(&view.id));
        let slots = || view.slots.iter();
        InstanceFacts {
            instance: view.id.clone(),
            template: plan.map(|plan| plan.definition.template.clone()),
            status: view.status.as_str(),
            lifecycle: view.lifecycle.as_str(),
            reason: view.reason.clone(),
            breaker: view.breaker.state.as_str(),
            openings: view.breaker.openings,
            error_share: figures.error_rate,
            p95_ms: figures.p95_ms,
            restarts_recent: slots().map(|slot| slot.restarts_recent).max().unwrap_or(0),
            memory_bytes: slots().filter_map(|slot| slot.memory_bytes).max(),
            memory_limit_bytes: slots().find_map(|slot: &SlotView| slot.memory_limit_bytes),
            heartbeat_age_ms: slots().filter_map(|slot| slot.heartbeat_age_ms).max(),
            attributes: Vec::new(),
        }
    }

    fn router(&self, view: &FleetView, sinks: Vec<SinkFacts>) -> RouterState {
        let readiness = &view.readiness;
        let figures = self.meters.figures(None);
        let pool = self.store.pool();
        let plan = view.capacity.in_force.as_deref().map(|one| &one.plan);
        let forecast = plan.and_then(|plan| plan.forecasts.first());
        RouterState {
            totals: FleetTotals {
                instances: view.summary.total,
                wanted: readiness.wanted,
                able: readiness.able,
                breakers: readiness.breakers,
                breakers_open: readiness.breakers_open,
                breakers_opened_together: readiness.breakers_opened_together,
                error_share: figures.error_rate,
                p95_ms: figures.p95_ms,
            },
            plugins: self.engine.list().iter().map(plugin).collect(),
            sinks,
            database: if readiness.database {
                "connected"
            } else {
                "disconnected"
            },
            pool_share: f64::from(pool.in_use) / f64::from(pool.max.max(1)),
            database_connections: pool.server,
            disks: self.disks.shares(),
            capacity_required: plan.map(|plan| plan.required),
            capacity_limits: limits(&view.capacity),
            capacity_forecast: forecast.map(|forecast| forecast.summary.clone()),
            capacity_forecast_ms: forecast.map(|forecast| forecast.at_ms),
            uptime_ms: self.clock.now().mono_ms,
            attributes: self.database_reason().into_iter().collect(),
        }
    }

    /// Why the database is lost, as an operator reads it.
    fn database_reason(&self) -> Option<(String, String)> {
        match &*self.store.state().borrow() {
            DatabaseState::Disconnected { reason, .. } | DatabaseState::Unusable { reason, .. } => {
                Some(("database-reason".to_owned(), reason.clone()))
            }
            DatabaseState::Connected { .. } | DatabaseState::Closed => None,
        }
    }
}

fn plugin(view: &PluginView) -> PluginFacts {
    let unanswered = view.unanswered;
    let is_quarantined = view.quarantined_for_ms.is_some();
    PluginFacts {
        name: view.name.clone(),
        world: view.world.to_owned(),
        state: view.state,
        reason: view.reason.clone(),
        in_use: view.in_use,
        refusal: view.candidate.as_ref().map(|refusal| PluginRefusal {
            code: refusal.code,
            reason: refusal.reason.clone(),
        }),
        held: (view.trial.as_ref())
            .filter(|trial| trial.state == CandidateState::Held)
            .map(|trial| trial.reason.clone().unwrap_or_default()),
        quarantined_since_ms: unanswered
            .filter(|_| is_quarantined)
            .map(|unanswered| unanswered.since_ms),
        default_answers: unanswered.map_or(0, |unanswered| unanswered.questions),
        attributes: Vec::new(),
    }
}

/// Those limits of which it is known how much is in use.
fn limits(view: &CapacityView) -> Vec<LimitFacts> {
    let plan = view.in_force.as_deref().map(|one| &one.plan);
    let limits = plan.into_iter().flat_map(|plan| &plan.limits);
    let facts = limits.filter_map(|limit| {
        Some(LimitFacts {
            of: limit.of.to_string(),
            used: view.used(&limit.of)?,
            most: limit.most,
            attributes: Vec::new(),
        })
    });
    facts.collect()
}

/// How full the disks are that the router writes to, as they were read last.
pub(crate) struct DiskGauge {
    paths: Vec<PathBuf>,
    state: Mutex<DiskState>,
}

#[derive(Default)]
struct DiskState {
    /// A reading is under way. One that hangs is not joined by others.
    is_reading: bool,
    shares: Vec<DiskFacts>,
}

impl DiskGauge {
    /// A gauge of the disks that hold these paths.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Arc<Self> {
        let gauge = Self {
            paths,
            state: Mutex::default(),
        };
        // The first question is not put without it.
        gauge.state.lock().shares = gauge.read();
        Arc::new(gauge)
    }

    /// Begins a reading, unless one is under way.
    fn refresh(self: &Arc<Self>) {
        if std::mem::replace(&mut self.state.lock().is_reading, true) {
            return;
        }
        let gauge = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let shares = gauge.read();
            *gauge.state.lock() = DiskState {
                is_reading: false,
                shares,
            };
        });
    }

    /// Each file system once, by the first of the paths on it: one that fills is one condition.
    fn read(&self) -> Vec<DiskFacts> {
        let mut devices = BTreeSet::new();
        let shares = self.paths.iter().filter_map(|path| {
            let device = rustix::fs::stat(path).ok()?.st_dev;
            devices.insert(device).then_some(())?;
            Some(DiskFacts {
                path: path.display().to_string(),
                used_share: share_in_use(path)?,
                attributes: Vec::new(),
            })
        });
        shares.collect()
    }

    fn shares(&self) -> Vec<DiskFacts> {
        self.state.lock().shares.clone()
    }
}
