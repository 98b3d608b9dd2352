//! The driver as the proxy knows it: its clock, and the queue of events to it.

use std::sync::Arc;

use router_core::{
    Now,
    event::{Event, TrafficEvent},
};
use tokio::sync::mpsc;

use crate::observe::{ProxyCount, ProxyObserver};

/// The driver's clock: the same origin as the times in [`router_core::route::Route`].
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// See the module.
pub(crate) struct DriverLink {
    events: mpsc::Sender<Event>,
    clock: Clock,
    observer: Arc<dyn ProxyObserver>,
}

impl DriverLink {
    pub(crate) fn new(
        events: mpsc::Sender<Event>,
        clock: Clock,
        observer: Arc<dyn ProxyObserver>,
    ) -> Self {
        Self {
            events,
            clock,
            observer,
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        (self.clock)().mono_ms
    }

    /// Sends an event, or counts that the queue had no room.
    pub(crate) fn send(&self, event: TrafficEvent) -> bool {
        let is_sent = self.events.try_send(event.into()).is_ok();
        if !is_sent {
            self.observer.count(ProxyCount::DriverEventDropped);
        }
        is_sent
    }
}
