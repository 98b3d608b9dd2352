//! Clients: they follow the published routes, take permits from the cells, and report how requests end.

use std::sync::Arc;

use super::{
    property::Property,
    world::{Item, World},
};
use crate::{
    InstanceId, Run, SlotKey,
    event::{Event, TrafficEvent},
    permit::{BreakerState, Class, Permit},
    route::Route,
};

pub(super) struct SimulatedRequest {
    pub(super) instance: InstanceId,
    pub(super) run: Run,
    permit: Option<Permit>,
    /// The tool that it calls, where that has a breaker of its own.
    tool: Option<(Arc<str>, Permit)>,
    generation: u32,
    begun_ms: u64,
    is_probe: bool,
}

impl World {
    /// A burst of requests to one slot.
    pub(super) fn clients(&mut self) {
        let most_ms = if self.calm {
            10_000
        } else {
            self.plan.clients_ms
        };
        let in_ms = self.dice.between(1, most_ms);
        self.later(in_ms, Item::Clients);
        let slots: Vec<SlotKey> = self.routes.keys().cloned().collect();
        let Some(key) = self.dice.pick(&slots).cloned() else {
            return;
        };
        let burst = if self.dice.chance(20) {
            self.dice.between(2, 12)
        } else {
            1
        };
        match self.routes.get(&key).cloned() {
            Some(Route::Ready { run, .. }) => {
                for _ in 0..burst {
                    self.request(&key, run);
                }
                self.later(0, Item::Deliver(Event::Traffic(TrafficEvent::Used(key))));
            }
            Some(Route::Startable { wait_ms }) => {
                let asked = self.maybe_another_slot(key.clone());
                let waits = asked == key;
                self.deliver(TrafficEvent::Demand(asked));
                // Where it waits for a place, it gives up by itself.
                let is_held = matches!(self.routes.get(&key), Some(Route::Waiting { .. }));
                if waits && !is_held {
                    self.wait_for_start(key, wait_ms);
                }
            }
            // A client that ignores the route.
            Some(Route::Unavailable(_)) if self.dice.chance(30) => {
                self.deliver(TrafficEvent::Demand(key));
            }
            _ => {}
        }
    }

    /// Some requests to every slot that is ready.
    pub(super) fn burst(&mut self) {
        let ready = self.routes.iter().filter_map(|(key, route)| match route {
            Route::Ready { run, .. } => Some((key.clone(), *run)),
            _ => None,
        });
        let ready: Vec<_> = ready.collect();
        for (key, run) in ready {
            for _ in 0..6 {
                self.request(&key, run);
            }
        }
    }

    fn maybe_another_slot(&mut self, key: SlotKey) -> SlotKey {
        let slots = self
            .specs
            .get(&key.instance)
            .map_or(1, |spec| spec.max_slots);
        let slot = self.dice.between(0, u64::from(slots)) as u32;
        SlotKey {
            slot: slot.min(slots.saturating_sub(1)),
            ..key
        }
    }

    fn request(&mut self, key: &SlotKey, run: Run) {
        let Some(cell) = self.cells.get(&key.instance).map(Arc::clone) else {
            return;
        };
        match cell.try_acquire(self.now_ms) {
            Ok(permit) => {
                let Some(tool) = self.tool_permit(key) else {
                    // A refused second gives the first back.
                    return self.saw("tool rejected");
                };
                let is_probe = permit.is_probe();
                let generation = self.generation(&key.instance);
                self.sequence_request(SimulatedRequest {
                    instance: key.instance.clone(),
                    run,
                    permit: Some(permit),
                    tool,
                    generation,
                    begun_ms: self.now_ms,
                    is_probe,
                });
                if is_probe {
                    self.saw("probe");
                    self.exact_permits(&key.instance);
                }
            }
            Err(rejected) => {
                self.saw("rejected");
                if rejected.state == BreakerState::HalfOpen {
                    self.no_permit_is_lost(&key.instance);
                }
                let text = rejected.to_string();
                let expected = match (rejected.state, rejected.retry_after_ms) {
                    (BreakerState::Open, Some(ms)) => {
                        format!("Circuit breaker is OPEN. Retry in {ms}ms")
                    }
                    (BreakerState::Open, None) => text.clone(),
                    // Nobody is admitted yet.
                    _ if self.probing(&key.instance).0 == 0 => {
                        "Circuit breaker is HALF_OPEN. Retry in 5000ms".to_owned()
                    }
                    _ => "Circuit breaker is HALF_OPEN. Retry in 1000ms".to_owned(),
                };
                if text != expected {
                    self.fail(Property::CellAgrees, format!("a rejection says {text:?}"));
                }
            }
        }
    }

    /// The permit of the tool that a request calls, if any has a breaker of its own; `None`: it is refused.
    fn tool_permit(&mut self, key: &SlotKey) -> Option<Option<(Arc<str>, Permit)>> {
        let guarded = self.tool_cells.iter();
        let guarded = guarded.filter(|((at, _), _)| *at == key.instance);
        let guarded: Vec<_> = guarded
            .map(|((_, tool), cell)| (Arc::clone(tool), Arc::clone(cell)))
            .collect();
        if guarded.is_empty() || self.dice.chance(40) {
            return Some(None);
        }
        // One of them is called most, so that it fails in a row.
        let at = if self.dice.chance(70) {
            0
        } else {
            self.dice.between(0, guarded.len() as u64 - 1) as usize
        };
        let (tool, cell) = guarded.get(at)?;
        let permit = cell.try_acquire(self.now_ms).ok()?;
        Some(Some((Arc::clone(tool), permit)))
    }

    fn sequence_request(&mut self, request: SimulatedRequest) {
        let id = self.requests.last_key_value().map_or(0, |(id, _)| id + 1);
        let takes_ms = if !self.calm && self.dice.chance(5) {
            self.dice.between(10_000, 70_000)
        } else {
            self.dice.between(1, 2_000)
        };
        self.requests.insert(id, request);
        self.later(takes_ms, Item::RequestEnds(id));
    }

    /// Probes of the present generation that hold their permit, those overdue apart.
    fn probes_out(&self, instance: &InstanceId) -> u32 {
        let (_, probe_ms) = self.probing(instance);
        let generation = self.generation(instance);
        let is_out = |of: &InstanceId, at: u32, begun_ms: u64| {
            of == instance && at == generation && begun_ms + probe_ms > self.now_ms
        };
        let requests = self.requests.values().filter(|request| {
            request.is_probe && is_out(&request.instance, request.generation, request.begun_ms)
        });
        let kept = self.kept_permits.iter();
        let kept = kept.filter(|(of, at, begun_ms)| is_out(of, *at, *begun_ms));
        (requests.count() + kept.count()) as u32
    }

    /// Probes out at once never exceed what is permitted.
    fn exact_permits(&mut self, instance: &InstanceId) {
        let ((permits, _), out) = (self.probing(instance), self.probes_out(instance));
        if out > permits {
            self.fail(
                Property::Permits,
                format!("{out} probes of {instance} at once, {permits} are permitted"),
            );
        }
    }

    /// A client is rejected in HALF_OPEN only for probes that are really out.
    fn no_permit_is_lost(&mut self, instance: &InstanceId) {
        let ((permits, _), out) = (self.probing(instance), self.probes_out(instance));
        if out < permits {
            self.fail(
                Property::PermitsReturn,
                format!("a probe of {instance} is rejected with {out} of {permits} permits out"),
            );
        }
    }

    pub(super) fn request_ends(&mut self, id: u64) {
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        let fails = self
            .characters
            .get(&request.instance)
            .map_or(0, |nature| nature.requests_fail);
        let class = match self.dice.between(0, 99) {
            // The client goes away: the permit is dropped without a word.
            0..5 => return,
            5..8 => Class::Ignore,
            8..10 if !self.calm => Class::Slow,
            _ if self.now_ms < self.outage_until_ms => Class::Failure,
            _ if self.dice.chance(fails) => Class::Failure,
            _ => Class::Success,
        };
        self.end(request, class, false);
    }

    /// Everything in flight on a process dies with it.
    pub(super) fn requests_die(&mut self, key: &SlotKey, run: Run) {
        let dying = self
            .requests
            .iter()
            .filter(|(_, request)| request.run == run && request.instance == key.instance);
        let ids: Vec<u64> = dying.map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(request) = self.requests.remove(&id) {
                self.end(request, Class::Failure, true);
            }
        }
    }

    fn end(&mut self, mut request: SimulatedRequest, mut class: Class, upstream_died: bool) {
        if let Some((tool, permit)) = request.tool.take() {
            self.end_tool(&request, (tool, permit), class, upstream_died);
            // Of such a call only answers, and the death of the process, say something about the instance.
            class = match class {
                Class::Success | Class::Slow => Class::Success,
                Class::Failure if upstream_died => Class::Failure,
                Class::Failure | Class::Ignore => Class::Ignore,
            };
        }
        if request.is_probe && matches!(class, Class::Failure | Class::Slow) {
            // A bad verdict keeps its permit: no further probe is needed to open the breaker again.
            let kept = (
                request.instance.clone(),
                request.generation,
                request.begun_ms,
            );
            self.kept_permits.push(kept);
        }
        let report = request
            .permit
            .take()
            .and_then(|permit| permit.finish(class));
        if let Some(report) = report
            && !self.is_lost()
        {
            let (instance, run) = (request.instance, request.run);
            let event = Event::Traffic(TrafficEvent::Outcome {
                instance,
                run,
                report,
                upstream_died,
            });
            self.deliver_verdict(event);
        }
    }

    fn end_tool(
        &mut self,
        request: &SimulatedRequest,
        (tool, permit): (Arc<str>, Permit),
        class: Class,
        upstream_died: bool,
    ) {
        let report = permit.finish(class);
        if report.is_some() && !self.is_lost() {
            self.deliver_verdict(Event::Traffic(TrafficEvent::ToolOutcome {
                instance: request.instance.clone(),
                tool,
                run: request.run,
                report,
                upstream_died,
                timed_out: None,
            }));
        }
    }

    fn deliver_verdict(&mut self, event: Event) {
        // Verdicts come from a bounded channel: late perhaps, but never twice.
        let is_prompt = self.calm || self.dice.chance(90);
        let in_ms = if is_prompt {
            0
        } else {
            self.dice.between(0, 40_000)
        };
        self.later(in_ms, Item::Deliver(event));
    }
}
