//! The driver's side of each run: its connection, from the first byte to the last.

use std::{
    path::PathBuf,
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
use router_supervisor::InstanceIo;
use router_upstream::{
    Closed, Connection, Handshake, ListKind, Upstream, UpstreamConfig, UpstreamEvents,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Driver, Rooms, adopting::Resumed, kept::Kept};
use crate::{
    clock::{millis, unix_ms},
    error_chain::chain,
    instance_plan::{InstancePlan, WAITS_DEFAULT},
};

/// How long the tool list of a ready instance may take to be read anew.
const RELIST: Duration = Duration::from_secs(30);

/// The list is read anew this often at most: some servers say that it changed whenever it is read.
const RELIST_EVERY: Duration = Duration::from_secs(1);

/// What connections and the driver's own tasks report.
pub(super) enum Inner {
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
    /// Cancelled once the connection has let go of the descriptors.
    gone: CancellationToken,
    pub(super) kept: Kept,
    wait: Waits,
    ready_by_ms: u64,
    pub(super) memory_bytes: Option<u64>,
    relist: Relist,
}

/// Reading a changed tool list anew: once at a time, however often it is said to have changed.
#[derive(Debug, Default)]
struct Relist {
    is_under_way: bool,
    is_stale: bool,
    began: Option<Instant>,
    /// Set while the driver has yet to hear of a change, so that a flood of notifications is one event.
    is_told: Arc<AtomicBool>,
}

impl Live {
    /// A run without a connection yet.
    pub(super) fn new(run: Run, kept: Kept, wait: Waits, ready_by_ms: u64) -> Self {
        Self {
            run,
            upstream: None,
            gone: CancellationToken::new(),
            kept,
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

    /// The process at its other end is gone, whoever still holds its output open.
    pub(super) fn close_died(&self) {
        if let Some(upstream) = &self.upstream {
            upstream.close_died();
        }
    }

    /// What its connection needs to report.
    pub(super) fn wiring(&self, key: &SlotKey, inner: mpsc::Sender<Inner>) -> Wiring {
        Wiring {
            key: key.clone(),
            run: self.run,
            gone: self.gone.clone(),
            is_relist_told: Arc::clone(&self.relist.is_told),
            inner,
        }
    }
}

/// What a connection needs to report to the driver.
#[derive(Clone)]
pub(super) struct Wiring {
    key: SlotKey,
    run: Run,
    gone: CancellationToken,
    is_relist_told: Arc<AtomicBool>,
    inner: mpsc::Sender<Inner>,
}

/// Hears what a connection says, from the connection's own task.
struct Heard {
    wiring: Wiring,
    rooms: Arc<dyn Rooms>,
}

impl UpstreamEvents for Heard {
    fn unknown_reply(&self) {
        self.rooms.late_reply();
    }

    fn list_changed(&self, kind: ListKind) {
        let Wiring {
            key, run, inner, ..
        } = &self.wiring;
        let is_told = &self.wiring.is_relist_told;
        if kind == ListKind::Tools && !is_told.swap(true, Ordering::AcqRel) {
            let changed = Inner::ToolsChanged {
                key: key.clone(),
                run: *run,
            };
            // The list is read again when it next changes, and when the instance is next started.
            if inner.try_send(changed).is_err() {
                is_told.store(false, Ordering::Release);
                tracing::warn!(instance = %key.instance, "a change of the tool list went by unheard");
            }
        }
    }
}

impl Driver {
    /// A run is about to be launched.
    pub(super) fn begin(&mut self, key: SlotKey, run: Run, plan: &InstancePlan, ready_by_ms: u64) {
        let live = Live::new(run, Kept::started(), plan.waits, ready_by_ms);
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
    pub(super) fn connected(&mut self, event: Inner) {
        match event {
            Inner::Core(event) => self.step(event),
            Inner::Opened { key, run, upstream } => self.opened(&key, run, upstream),
            Inner::Handshaken {
                key,
                run,
                handshake,
            } => self.handshaken(key, run, &handshake),
            Inner::Ended { key, run, closed } => self.ended(key, run, &closed),
            Inner::ToolsChanged { key, run } => self.tools_changed(&key, run),
            Inner::Relisted { key, run, tools } => self.relisted(&key, run, tools),
            Inner::Resumed(resumed) => self.awaited(*resumed),
        }
    }

    pub(super) fn started(&mut self, key: SlotKey, run: Run, pid: u32, io: InstanceIo) {
        let inner = self.inner.clone();
        let Some(live) = self.current(&key, run) else {
            // Nobody waits for this run any more; the core asks for its end when it hears of it.
            return self.step(SlotEvent::Spawned { pid }.on(key, run));
        };
        let blob = live.kept.to_bytes();
        let (wait, ready_by_ms) = (live.wait, live.ready_by_ms);
        let wiring = live.wiring(&key, inner);
        self.parts.supervisor.put_blob(&key, run, blob);
        self.step(SlotEvent::Spawned { pid }.on(key.clone(), run));
        let within = self.parts.clock.until(ready_by_ms);
        let config = self.upstream_config(&key, run, wait);
        match io {
            InstanceIo::Stdio { stdin, stdout } => {
                let opened = {
                    let _in_front = self.parts.front.enter();
                    Upstream::open_pipes(config, stdin, stdout, self.hears(&wiring))
                };
                match opened {
                    Ok((upstream, connection)) => {
                        let told = tell_end(wiring, connection);
                        self.tasks.spawn_on(told, &self.parts.front);
                        self.opened(&key, run, Arc::clone(&upstream));
                        self.greet(key, run, upstream, wait.socket.min(within), within);
                    }
                    Err(error) => self.step(
                        SlotEvent::HandshakeFailed {
                            error: chain(&error),
                        }
                        .on(key, run),
                    ),
                }
            }
            InstanceIo::Socket(path) => self.reach(wiring, path, (config, wait, within)),
        }
    }

    /// Connects to an instance that listens itself, then greets it.
    fn reach(
        &self,
        wiring: Wiring,
        path: PathBuf,
        (config, wait, within): (UpstreamConfig, Waits, Duration),
    ) {
        let hears = self.hears(&wiring);
        let (front, tasks) = (self.parts.front.clone(), self.tasks.clone());
        let task = async move {
            let (key, run, inner) = (wiring.key.clone(), wiring.run, wiring.inner.clone());
            let event = match Upstream::connect(config, &path, wait.socket.min(within), hears).await
            {
                Ok((upstream, connection)) => {
                    tasks.spawn_on(tell_end(wiring, connection), &front);
                    let opened = Inner::Opened {
                        key: key.clone(),
                        run,
                        upstream: Arc::clone(&upstream),
                    };
                    let _ = inner.send(opened).await;
                    handshake(key, run, &upstream, wait.socket.min(within), within).await
                }
                Err(error) => Inner::Core(
                    SlotEvent::HandshakeFailed {
                        error: chain(&error),
                    }
                    .on(key, run),
                ),
            };
            let _ = inner.send(event).await;
        };
        self.tasks.spawn_on(task, &self.parts.front);
    }

    fn opened(&mut self, key: &SlotKey, run: Run, upstream: Arc<Upstream>) {
        match self.current(key, run) {
            Some(live) => live.upstream = Some(upstream),
            None => upstream.close(),
        }
    }

    pub(super) fn greet(
        &self,
        key: SlotKey,
        run: Run,
        upstream: Arc<Upstream>,
        answer_within: Duration,
        within: Duration,
    ) {
        let inner = self.inner.clone();
        self.tasks.spawn(async move {
            let event = handshake(key, run, &upstream, answer_within, within).await;
            let _ = inner.send(event).await;
        });
    }

    fn handshaken(&mut self, key: SlotKey, run: Run, handshake: &Handshake) {
        if let Some(live) = self.current(&key, run) {
            live.kept.handshaken(handshake, unix_ms());
            let blob = live.kept.to_bytes();
            self.parts.supervisor.put_blob(&key, run, blob);
        }
        let tools = handshake.tools().to_vec();
        self.step(SlotEvent::Ready { tools }.on(key, run));
    }

    /// A connection ended, by itself or with its process.
    pub(super) fn ended(&mut self, key: SlotKey, run: Run, closed: &Arc<Closed>) {
        let is_ours = matches!(**closed, Closed::Requested | Closed::Died);
        if is_ours || self.current(&key, run).is_none() {
            return;
        }
        let error = chain(closed);
        let inner = self.inner.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(EXIT_REPORT_WAIT).await;
            let lost = Inner::Core(SlotEvent::UpstreamLost { error }.on(key, run));
            let _ = inner.send(lost).await;
        });
    }

    fn tools_changed(&mut self, key: &SlotKey, run: Run) {
        if let Some(live) = self.current(key, run) {
            // What changes from here on is told anew.
            live.relist.is_told.store(false, Ordering::Release);
            live.relist.is_stale = true;
            self.relist(key, run);
        }
    }

    fn relist(&mut self, key: &SlotKey, run: Run) {
        let inner = self.inner.clone();
        let Some(live) = self.current(key, run) else {
            return;
        };
        let Some(upstream) = live.upstream.clone() else {
            return;
        };
        if live.relist.is_under_way || !std::mem::take(&mut live.relist.is_stale) {
            return;
        }
        let now = Instant::now();
        let begin = live
            .relist
            .began
            .map_or(now, |at| (at + RELIST_EVERY).max(now));
        live.relist.is_under_way = true;
        live.relist.began = Some(begin);
        let key = key.clone();
        self.tasks.spawn(async move {
            sleep_until(begin).await;
            let tools = upstream.tools(RELIST).await;
            let tools = tools.map_err(|error| chain(&error));
            let _ = inner.send(Inner::Relisted { key, run, tools }).await;
        });
    }

    fn relisted(&mut self, key: &SlotKey, run: Run, tools: Result<Vec<String>, String>) {
        let Some(live) = self.current(key, run) else {
            return;
        };
        live.relist.is_under_way = false;
        match tools {
            Ok(tools) => {
                // What the next router takes over is the list as it is now, not as it was at the start.
                live.kept.relisted(&tools);
                let blob = live.kept.to_bytes();
                self.parts.supervisor.put_blob(key, run, blob);
                self.step(SlotEvent::ToolsListed { tools }.on(key.clone(), run));
            }
            Err(error) => tracing::warn!(
                instance = %key.instance,
                error,
                "the changed tool list could not be read"
            ),
        }
        self.relist(key, run);
    }

    /// Lets go of a run that outlives the router: the descriptors are closed first.
    pub(super) fn release(&mut self, key: &SlotKey, run: Run) {
        let live = self.forget(key, run);
        let (supervisor, key) = (Arc::clone(&self.parts.supervisor), key.clone());
        let Some(live) = live.filter(|live| live.upstream.is_some()) else {
            return supervisor.release(&key, run);
        };
        live.close();
        self.tasks.spawn(async move {
            // A connection that does not end would keep the next router waiting for ours to end, which it does soon.
            let _ = tokio::time::timeout(LET_GO, live.gone.cancelled()).await;
            supervisor.release(&key, run);
        });
    }

    pub(super) fn forget(&mut self, key: &SlotKey, run: Run) -> Option<Live> {
        self.current(key, run)?;
        self.live.remove(key)
    }

    pub(super) fn hears(&self, wiring: &Wiring) -> Arc<dyn UpstreamEvents> {
        Arc::new(Heard {
            wiring: wiring.clone(),
            rooms: Arc::clone(&self.parts.rooms),
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

/// How long a connection may take to let go of its descriptors.
const LET_GO: Duration = Duration::from_secs(2);

/// Polls a connection to its end, and reports that.
pub(super) async fn tell_end(wiring: Wiring, connection: Connection) {
    let closed = connection.await;
    wiring.gone.cancel();
    let (key, run) = (wiring.key, wiring.run);
    let _ = wiring.inner.send(Inner::Ended { key, run, closed }).await;
}

/// The handshake, then the tools; together within `within`.
async fn handshake(
    key: SlotKey,
    run: Run,
    upstream: &Upstream,
    answer_within: Duration,
    within: Duration,
) -> Inner {
    let greeted = tokio::time::timeout(within, async {
        let handshake = upstream.handshake(answer_within).await?;
        let tools = upstream.tools(within).await?;
        Ok::<_, router_upstream::OwnCallError>(handshake.with_tools(tools))
    });
    let error = match greeted.await {
        Ok(Ok(handshake)) => {
            return Inner::Handshaken {
                key,
                run,
                handshake: Box::new(handshake),
            };
        }
        Ok(Err(error)) => chain(&error),
        Err(_) => format!(
            "it was not ready within {} ms (instances.spawn_timeout, INSTANCE_SPAWN_TIMEOUT)",
            millis(within)
        ),
    };
    Inner::Core(SlotEvent::HandshakeFailed { error }.on(key, run))
}
