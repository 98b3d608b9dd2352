//! The driver's side of each run: its connection, and what connections and tasks report.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use router_config::Waits;
use router_core::{
    InstanceId, Run, SlotKey,
    event::{Event, SlotEvent},
    loss::EXIT_REPORT_WAIT,
};
use router_upstream::{
    Closed, Connection, Handshake, ListKind, Upstream, UpstreamConfig, UpstreamEvents,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Driver, Ports, adopting::Resumed, shim_blob::ShimBlob, tool_list::Relist};
use crate::{
    error_chain::chain,
    instance_plan::{InstancePlan, WAITS_DEFAULT},
};

/// What connections and the driver's own tasks report.
pub(super) enum InternalEvent {
    /// An event that needs nothing else.
    Core(Event),
    /// A `socket` instance was reached.
    Opened {
        key: SlotKey,
        run: Run,
        upstream: Arc<Upstream>,
    },
    /// The handshake was answered and the tools were read.
    Handshaken {
        key: SlotKey,
        run: Run,
        handshake: Box<Handshake>,
    },
    /// A connection ended.
    Ended {
        key: SlotKey,
        run: Run,
        closed: Arc<Closed>,
    },
    /// The instance said that its tools changed.
    ToolsChanged { key: SlotKey, run: Run },
    /// The changed list was read, or could not be.
    Relisted {
        key: SlotKey,
        run: Run,
        tools: Result<Vec<String>, String>,
    },
    /// A survivor is connected again, or cannot be.
    Resumed(Box<Resumed>),
}

/// One run that lives, or is about to.
pub(super) struct Live {
    pub(super) run: Run,
    pub(super) upstream: Option<Arc<Upstream>>,
    /// Cancelled once the connection has closed the descriptors.
    gone: CancellationToken,
    pub(super) blob: ShimBlob,
    pub(super) wait: Waits,
    pub(super) ready_by_ms: u64,
    pub(super) memory_bytes: Option<u64>,
    pub(super) relist: Relist,
}

impl Live {
    /// A run without a connection yet.
    pub(super) fn new(run: Run, blob: ShimBlob, wait: Waits, ready_by_ms: u64) -> Self {
        Self {
            run,
            upstream: None,
            gone: CancellationToken::new(),
            blob,
            wait,
            ready_by_ms,
            memory_bytes: None,
            relist: Relist::default(),
        }
    }

    /// The connection is given up by us.
    pub(super) fn close(&self) {
        if let Some(upstream) = &self.upstream {
            upstream.close();
        }
    }

    /// The process at its other end is gone, even where another one holds its output open.
    pub(super) fn close_died(&self) {
        if let Some(upstream) = &self.upstream {
            upstream.close_died();
        }
    }

    /// What its connection needs to report.
    pub(super) fn reporter(
        &self,
        key: &SlotKey,
        internal: mpsc::Sender<InternalEvent>,
    ) -> Reporter {
        Reporter {
            key: key.clone(),
            run: self.run,
            gone: self.gone.clone(),
            is_change_reported: Arc::clone(&self.relist.is_reported),
            internal,
        }
    }
}

/// What a connection needs to report to the driver.
#[derive(Clone)]
pub(super) struct Reporter {
    pub(super) key: SlotKey,
    pub(super) run: Run,
    gone: CancellationToken,
    is_change_reported: Arc<AtomicBool>,
    pub(super) internal: mpsc::Sender<InternalEvent>,
}

/// Passes on what a connection reports, from the connection's own task.
struct ConnectionListener {
    reporter: Reporter,
    ports: Arc<dyn Ports>,
}

impl UpstreamEvents for ConnectionListener {
    fn unknown_reply(&self) {
        self.ports.count_late_reply();
    }

    fn list_changed(&self, kind: ListKind) {
        let Reporter {
            key, run, internal, ..
        } = &self.reporter;
        let is_reported = &self.reporter.is_change_reported;
        if kind == ListKind::Tools && !is_reported.swap(true, Ordering::AcqRel) {
            let changed = InternalEvent::ToolsChanged {
                key: key.clone(),
                run: *run,
            };
            // The list is read again when it next changes, and when the instance is next started.
            if internal.try_send(changed).is_err() {
                is_reported.store(false, Ordering::Release);
                tracing::warn!(instance = %key.instance, "tool list change dropped: too many events wait for the driver");
            }
        }
    }
}

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
            let is_slowness_new = std::mem::replace(&mut live.wait, wait).slow != wait.slow;
            if let Some(upstream) = &live.upstream {
                upstream.set_request_timeout(wait.request);
                upstream.set_cache_ttl(wait.cache_ttl);
            }
            if is_slowness_new && let Some(entry) = self.parts.table.get(key.instance.as_str()) {
                self.route(key, Some(entry.route.clone()));
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

    pub(super) fn listener(&self, reporter: &Reporter) -> Arc<dyn UpstreamEvents> {
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
}

/// How long a connection may take to close its descriptors.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// Polls a connection to its end, and reports that.
pub(super) async fn report_end(reporter: Reporter, connection: Connection) {
    let closed = connection.await;
    reporter.gone.cancel();
    let (key, run) = (reporter.key, reporter.run);
    let _ = reporter
        .internal
        .send(InternalEvent::Ended { key, run, closed })
        .await;
}
