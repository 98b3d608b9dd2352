//! The driver's side of each run: its connection, from the first byte to the last, and what its shim keeps of it.

use std::{sync::Arc, time::Duration};

use router_config::Waits;
use router_core::{InstanceId, Run, SlotKey, event::SlotEvent, loss::EXIT_REPORT_WAIT};
use router_upstream::{Closed, Upstream, UpstreamConfig, UpstreamEvents};

use super::{
    live::{ConnectionListener, ConnectionReporter, InternalEvent, Live},
    shim_blob::ShimBlob,
    state::Driver,
};
use crate::{
    error_chain::chain,
    instance_plan::{InstancePlan, WAITS_DEFAULT},
};

/// How long a connection may take to close its descriptors.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

impl Driver {
    /// A run is about to be launched.
    pub(super) fn begin(&mut self, key: SlotKey, run: Run, plan: &InstancePlan, ready_by_ms: u64) {
        let live = Live::new(run, ShimBlob::started(), plan.waits, ready_by_ms);
        self.live.insert(key, live);
    }

    /// How long its instance may take for what, by the definition that the core follows.
    pub(super) fn waits(&self, instance: &InstanceId) -> Waits {
        let plan = self.plan(instance);
        plan.map_or(WAITS_DEFAULT, |plan| plan.waits)
    }

    /// The configuration is new: connections that are there follow it too.
    pub(super) fn apply_waits(&mut self) {
        let waits: Vec<(SlotKey, Waits)> = self
            .live
            .keys()
            .map(|key| (key.clone(), self.waits(&key.instance)))
            .collect();
        for (key, wait) in waits {
            let Some(live) = self.live.get_mut(&key) else {
                continue;
            };
            live.wait = wait;
            if let Some(upstream) = &live.upstream {
                upstream.set_request_timeout(wait.request);
                upstream.set_cache_ttl(wait.cache_ttl);
            }
        }
    }

    /// The connection to that run.
    pub(super) fn upstream(&self, key: &SlotKey, run: Run) -> Option<Arc<Upstream>> {
        let live = self.live.get(key).filter(|live| live.run == run)?;
        live.upstream.clone()
    }

    /// How an instance is launched, by the definition that the core follows.
    pub(super) fn plan(&self, instance: &InstanceId) -> Option<Arc<InstancePlan>> {
        let source = self.fleet.spec(instance)?.source;
        self.parts.plans.get(instance, source)
    }

    pub(super) fn current(&mut self, key: &SlotKey, run: Run) -> Option<&mut Live> {
        self.live.get_mut(key).filter(|live| live.run == run)
    }

    /// What connections and tasks report.
    pub(super) fn handle_internal(&mut self, event: InternalEvent) {
        match event {
            InternalEvent::Core(event) => self.step(event),
            InternalEvent::Opened { key, run, upstream } => self.opened(&key, run, upstream),
            InternalEvent::Handshaken {
                key,
                run,
                handshake,
            } => self.handshaken(key, run, &handshake),
            InternalEvent::Ended { key, run, closed } => self.ended(key, run, &closed),
            InternalEvent::ToolsChanged { key, run } => self.tools_changed(&key, run),
            InternalEvent::Relisted { key, run, tools } => self.relisted(&key, run, tools),
            InternalEvent::Resumed(resumed) => self.awaited(*resumed),
        }
    }

    pub(super) fn opened(&mut self, key: &SlotKey, run: Run, upstream: Arc<Upstream>) {
        match self.current(key, run) {
            Some(live) => live.upstream = Some(upstream),
            None => upstream.close(),
        }
    }

    /// A connection ended, by itself or with its process.
    pub(super) fn ended(&mut self, key: SlotKey, run: Run, closed: &Arc<Closed>) {
        let is_ours = matches!(**closed, Closed::Requested | Closed::Died);
        if is_ours || self.current(&key, run).is_none() {
            return;
        }
        let error = chain(closed);
        let internal = self.internal.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(EXIT_REPORT_WAIT).await;
            let lost = InternalEvent::Core(SlotEvent::UpstreamLost { error }.on(key, run));
            let _ = internal.send(lost).await;
        });
    }

    /// Releases a run that outlives the router: the descriptors are closed first.
    pub(super) fn release(&mut self, key: &SlotKey, run: Run) {
        let live = self.forget(key, run);
        let (supervisor, key) = (Arc::clone(&self.parts.supervisor), key.clone());
        let Some(live) = live.filter(|live| live.upstream.is_some()) else {
            return supervisor.release(&key, run);
        };
        live.close();
        self.tasks.spawn(async move {
            // A connection that does not end would keep the next router waiting for ours to end, which it does soon.
            let _ = tokio::time::timeout(RELEASE_WITHIN, live.gone.cancelled()).await;
            supervisor.release(&key, run);
        });
    }

    pub(super) fn forget(&mut self, key: &SlotKey, run: Run) -> Option<Live> {
        self.current(key, run)?;
        self.live.remove(key)
    }

    pub(super) fn listener(&self, reporter: &ConnectionReporter) -> Arc<dyn UpstreamEvents> {
        Arc::new(ConnectionListener {
            reporter: reporter.clone(),
            ports: Arc::clone(&self.parts.ports),
        })
    }

    pub(super) fn upstream_config(&self, key: &SlotKey, run: Run, wait: Waits) -> UpstreamConfig {
        let prefix = format!("e{}", self.parts.epoch);
        UpstreamConfig {
            request_timeout: wait.request,
            cache_ttl: wait.cache_ttl,
            ..UpstreamConfig::new(key.instance.clone(), run, prefix)
        }
    }

    /// The next router need not keep this run.
    pub(super) fn note_unwanted(&mut self, key: &SlotKey, run: Run) {
        if let Some(live) = self.current(key, run)
            && live.blob.wanted
        {
            live.blob.wanted = false;
            let bytes = live.blob.to_bytes();
            self.parts.supervisor.put_blob(key, run, bytes);
        }
    }

    pub(super) fn keep_baseline(&mut self, key: &SlotKey, run: Run, tools: Vec<String>) {
        if let Some(live) = self.current(key, run) {
            live.blob.baseline = Some(tools);
            let bytes = live.blob.to_bytes();
            self.parts.supervisor.put_blob(key, run, bytes);
        }
    }

    pub(super) fn forget_baselines(&mut self, instance: &InstanceId) {
        for (key, live) in &mut self.live {
            if key.instance == *instance && live.blob.baseline.take().is_some() {
                let bytes = live.blob.to_bytes();
                self.parts.supervisor.put_blob(key, live.run, bytes);
            }
        }
    }
}
