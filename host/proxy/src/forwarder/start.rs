//! Waiting for an instance to start, bounded by the start's own deadline and by nothing else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use router_core::{
    InstanceId,
    event::TrafficEvent,
    loss::NEXT_ROUTE_WAIT,
    route::{Route, Unavailable},
};
use router_upstream::{CallError, Upstream};
use tokio::time::{Instant, timeout_at};

use super::loss::Losses;
use crate::{
    driver_link::DriverLink,
    fault::{FaultKind, RequestFault},
    table::{RoutingEntry, RoutingTable},
};

/// A demand that found the driver's queue full is repeated this often.
const DEMAND_RETRY: Duration = Duration::from_millis(50);

/// Longest wait for a start, whatever the route says: it can be added to any time without running over.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// The requests that wait for their instances to start.
pub(crate) struct StartQueue {
    table: Arc<RoutingTable>,
    driver: Arc<DriverLink>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

impl StartQueue {
    pub(crate) fn new(
        table: Arc<RoutingTable>,
        driver: Arc<DriverLink>,
        waiting_max: usize,
    ) -> Self {
        Self {
            table,
            driver,
            waiting: AtomicUsize::new(0),
            waiting_max,
        }
    }

    /// How many wait.
    pub(crate) fn count(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Begins to wait; `None` where as many as may do so already.
    pub(crate) fn enter<'a>(&'a self, losses: &'a Losses) -> Option<StartWait<'a>> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let wait = StartWait {
            queue: self,
            losses,
            begun: Instant::now(),
            has_demanded: false,
            start_until: None,
            route_until: None,
            place_until: None,
            refusal: None,
        };
        (before < self.waiting_max).then_some(wait)
    }
}

/// One request that waits for its instance to start.
pub(crate) struct StartWait<'a> {
    queue: &'a StartQueue,
    losses: &'a Losses,
    begun: Instant,
    has_demanded: bool,
    /// When waiting for a start is over. The first start that is seen sets it, so that a request does not wait for ever
    /// longer where one start follows another.
    start_until: Option<Instant>,
    /// When waiting for the next route of a connection that ended is over.
    route_until: Option<Instant>,
    /// When waiting for a place among those that run is over: also where it waits for one again.
    place_until: Option<Instant>,
    /// What is answered when that is over, until the instance is being started.
    refusal: Option<Unavailable>,
}

impl StartWait<'_> {
    /// Waits for the connection to the instance's next run. `spent` is a connection that has ended, whatever the table still
    /// says.
    pub(crate) async fn next_run(
        mut self,
        instance: &InstanceId,
        spent: Option<&Arc<Upstream>>,
    ) -> Result<(Arc<RoutingEntry>, Arc<Upstream>), RequestFault> {
        loop {
            let watched = self.queue.table.watch(instance.as_str());
            let (entry, changed) =
                watched.ok_or_else(|| FaultKind::UnknownInstance.on(instance))?;
            if let (Route::Ready { .. }, Some(upstream)) = (&entry.route, &entry.upstream)
                && spent.is_none_or(|spent| !Arc::ptr_eq(spent, upstream))
            {
                let upstream = upstream.clone();
                return Ok((entry, upstream));
            }
            let until = self.deadline(&entry)?;
            let is_pending_demand =
                matches!(entry.route, Route::Startable { .. }) && !self.has_demanded;
            let wake_at = if is_pending_demand {
                until.min(Instant::now() + DEMAND_RETRY)
            } else {
                until
            };
            let has_changed = timeout_at(wake_at, changed).await.is_ok();
            if !has_changed && Instant::now() >= until {
                return Err(self.give_up(&entry, spent));
            }
        }
    }

    /// When waiting with this route is over. Demands a start where there is none yet.
    fn deadline(&mut self, entry: &RoutingEntry) -> Result<Instant, RequestFault> {
        let now_ms = self.queue.driver.now_ms();
        let wait = match &entry.route {
            // The table is about to change: the connection has just ended, or is just being opened.
            Route::Ready { .. } => {
                let until = Instant::now() + NEXT_ROUTE_WAIT;
                return Ok(*self.route_until.get_or_insert(until));
            }
            Route::Startable { wait_ms } => {
                self.has_demanded = self.has_demanded || self.demand(entry);
                Duration::from_millis(*wait_ms)
            }
            Route::Waiting { wait_ms, refusal } => {
                self.refusal = Some(refusal.clone());
                let until = Instant::now() + Duration::from_millis(*wait_ms).min(WAIT_MAX);
                return Ok(*self.place_until.get_or_insert(until));
            }
            Route::Starting { deadline_ms } => {
                if self.refusal.take().is_some() {
                    // The start itself begins only now.
                    self.start_until = None;
                }
                Duration::from_millis(deadline_ms.saturating_sub(now_ms))
            }
            Route::Unavailable(unavailable) => {
                let unavailable = unavailable.clone();
                let kind = FaultKind::Unavailable {
                    unavailable,
                    now_ms,
                };
                return Err(kind.on(&entry.key.instance));
            }
        };
        self.route_until = None;
        let until = Instant::now() + wait.min(WAIT_MAX);
        Ok(*self.start_until.get_or_insert(until))
    }

    fn demand(&self, entry: &RoutingEntry) -> bool {
        let demand = TrafficEvent::Demand(entry.key.clone());
        self.queue.driver.send(demand)
    }

    fn give_up(&self, entry: &RoutingEntry, spent: Option<&Arc<Upstream>>) -> RequestFault {
        let instance = &entry.key.instance;
        if let Some(unavailable) = self.refusal.clone() {
            let now_ms = self.queue.driver.now_ms();
            return FaultKind::Unavailable {
                unavailable,
                now_ms,
            }
            .on(instance);
        }
        let is_ready = matches!(entry.route, Route::Ready { .. });
        match spent.filter(|_| is_ready).and_then(|spent| spent.closed()) {
            Some(closed) => {
                let fault = RequestFault::call(instance, CallError::Lost(closed));
                self.losses.with_next(fault)
            }
            None => {
                let waited = self.begun.elapsed();
                FaultKind::StartTooSlow { waited }.on(instance)
            }
        }
    }
}

impl Drop for StartWait<'_> {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
