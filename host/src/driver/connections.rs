//! The driver's side of each run: its connection, what is kept of it with its shim, and what the supervisor reports.

use std::{path::PathBuf, sync::Arc, time::Duration};

use router_core::{
    InstanceId, Run, SlotKey,
    event::{Adopted, Event, Evidence, Exit, Sample},
};
use router_supervisor::{Adoption, InstanceIo, SlotExit, SupervisorEvent};
use router_upstream::{
    Closed, Connection, Handshake, ListKind, Upstream, UpstreamConfig, UpstreamEvents,
};
use tokio::sync::mpsc;

use super::{Driver, kept::Kept};
use crate::{
    clock::{millis, unix_ms},
    launch::Plan,
};

/// A process that ends closes its output a moment before its end is reported. So long the report is waited for, because it
/// says more than the closed output does.
const END_REPORT: Duration = Duration::from_millis(500);

/// How long the tool list of a ready instance may take to be read anew.
const RELIST: Duration = Duration::from_secs(30);

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
    /// A survivor is connected again, or cannot be.
    Resumed {
        adopted: Box<Adopted>,
        upstream: Option<Arc<Upstream>>,
        kept: Box<Kept>,
        fault: Option<String>,
    },
}

/// One run that lives, or is about to.
pub(super) struct Live {
    run: Run,
    upstream: Option<Arc<Upstream>>,
    kept: Kept,
    wait: Waits,
    ready_by_ms: u64,
    memory_bytes: Option<u64>,
}

/// How long its instance may take for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waits {
    /// Connecting and the answer to the handshake.
    pub(crate) socket: Duration,
    /// A request of a client.
    pub(crate) request: Duration,
    /// How long lists may be served from memory.
    pub(crate) cache_ttl: Duration,
}

impl Live {
    pub(super) fn close(&self) {
        if let Some(upstream) = &self.upstream {
            upstream.close();
        }
    }
}

/// Survivors that are being connected again.
#[derive(Debug, Default)]
pub(super) struct Adopting {
    pending: usize,
    all_found: bool,
}

/// Hears what a connection says, from the connection's own task.
struct Heard {
    key: SlotKey,
    run: Run,
    inner: mpsc::Sender<Inner>,
}

impl UpstreamEvents for Heard {
    fn list_changed(&self, kind: ListKind) {
        if kind == ListKind::Tools {
            let changed = Inner::ToolsChanged {
                key: self.key.clone(),
                run: self.run,
            };
            // The list is read again when it next changes, and when the instance is next started.
            if self.inner.try_send(changed).is_err() {
                tracing::warn!(instance = %self.key.instance, "a change of the tool list went by unheard");
            }
        }
    }
}

impl Driver {
    /// A run is about to be launched.
    pub(super) fn begin(&mut self, key: SlotKey, run: Run, plan: &Plan, ready_by_ms: u64) {
        let live = Live {
            run,
            upstream: None,
            kept: Kept::started(),
            wait: plan.waits,
            ready_by_ms,
            memory_bytes: None,
        };
        self.live.insert(key, live);
    }

    /// The connection to that run.
    pub(super) fn upstream(&self, key: &SlotKey, run: Run) -> Option<Arc<Upstream>> {
        let live = self.live.get(key).filter(|live| live.run == run)?;
        live.upstream.clone()
    }

    fn current(&mut self, key: &SlotKey, run: Run) -> Option<&mut Live> {
        self.live.get_mut(key).filter(|live| live.run == run)
    }

    /// What a supervisor reports, in the core's words.
    pub(super) fn supervised(&mut self, event: SupervisorEvent) {
        match event {
            SupervisorEvent::Started { key, run, pid, io } => self.started(key, run, pid, io),
            SupervisorEvent::SpawnFailed { key, run, error } => {
                self.forget(&key, run);
                self.step(Event::SpawnFailed { key, run, error });
            }
            SupervisorEvent::Adopted { key, run, adoption } => self.found(key, run, adoption),
            SupervisorEvent::HeldElsewhere {
                key,
                router_id,
                pid,
            } => tracing::warn!(
                instance = %key.instance,
                reason = %router_id,
                pid,
                "an instance is held by another router"
            ),
            SupervisorEvent::AdoptionFinished { adopted } => {
                tracing::info!(adopted, "looked for instances of an earlier life");
                self.adopting.all_found = true;
                self.maybe_adopted_all();
            }
            SupervisorEvent::Exited { key, run, exit } => self.exited(key, run, exit),
            SupervisorEvent::ShimLost { key, run } => {
                if let Some(live) = self.current(&key, run) {
                    live.close();
                }
                self.step(Event::ShimLost { key, run });
            }
            SupervisorEvent::Memory {
                key,
                run,
                rss_bytes,
                processes,
            } => self.sampled(key, run, rss_bytes, processes),
        }
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
            Inner::ToolsChanged { key, run } => self.relist(key, run),
            Inner::Resumed {
                adopted,
                upstream,
                kept,
                fault,
            } => {
                self.adopting.pending = self.adopting.pending.saturating_sub(1);
                self.resumed(*adopted, upstream, *kept, fault);
            }
        }
    }

    fn started(&mut self, key: SlotKey, run: Run, pid: u32, io: InstanceIo) {
        let Some(live) = self.current(&key, run) else {
            // Nobody waits for this run any more; the core asks for its end when it hears of it.
            return self.step(Event::Spawned { key, run, pid });
        };
        let blob = live.kept.to_bytes();
        let (wait, ready_by_ms) = (live.wait, live.ready_by_ms);
        self.parts.supervisor.put_blob(&key, run, blob);
        self.step(Event::Spawned {
            key: key.clone(),
            run,
            pid,
        });
        let within = self.parts.clock.until(ready_by_ms);
        let config = self.upstream_config(&key, run, wait);
        match io {
            InstanceIo::Stdio { stdin, stdout } => {
                let opened = {
                    let _in_front = self.parts.front.enter();
                    Upstream::open_pipes(config, stdin, stdout, self.hears(&key, run))
                };
                match opened {
                    Ok((upstream, connection)) => {
                        self.drive(&key, run, connection);
                        self.opened(&key, run, Arc::clone(&upstream));
                        self.greet(key, run, upstream, wait.socket.min(within), within);
                    }
                    Err(error) => self.step(Event::HandshakeFailed {
                        key,
                        run,
                        error: chain(&error),
                    }),
                }
            }
            InstanceIo::Socket(path) => self.reach(key, run, path, (config, wait, within)),
        }
    }

    /// Connects to an instance that listens itself, then greets it.
    fn reach(
        &self,
        key: SlotKey,
        run: Run,
        path: PathBuf,
        (config, wait, within): (UpstreamConfig, Waits, Duration),
    ) {
        let (inner, hears) = (self.inner.clone(), self.hears(&key, run));
        let front = self.parts.front.clone();
        let task = async move {
            let event = match Upstream::connect(config, &path, wait.socket.min(within), hears).await
            {
                Ok((upstream, connection)) => {
                    front.spawn(tell_end(key.clone(), run, connection, inner.clone()));
                    let opened = Inner::Opened {
                        key: key.clone(),
                        run,
                        upstream: Arc::clone(&upstream),
                    };
                    let _ = inner.send(opened).await;
                    handshake(key, run, &upstream, wait.socket.min(within), within).await
                }
                Err(error) => Inner::Core(Event::HandshakeFailed {
                    key,
                    run,
                    error: chain(&error),
                }),
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

    fn greet(
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
        self.step(Event::Ready { key, run, tools });
    }

    fn ended(&mut self, key: SlotKey, run: Run, closed: &Arc<Closed>) {
        if matches!(**closed, Closed::Requested) || self.current(&key, run).is_none() {
            return;
        }
        let error = chain(closed);
        let inner = self.inner.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(END_REPORT).await;
            let lost = Inner::Core(Event::UpstreamLost { key, run, error });
            let _ = inner.send(lost).await;
        });
    }

    fn exited(&mut self, key: SlotKey, run: Run, exit: SlotExit) {
        let live = self.forget(&key, run);
        let in_flight = live.as_ref().and_then(|live| live.upstream.as_ref());
        let evidence = Evidence {
            in_flight: in_flight.map_or_else(Vec::new, |upstream| {
                let calls = upstream.methods_in_flight();
                calls
                    .into_iter()
                    .take(IN_FLIGHT_KEPT)
                    .map(|call| call.what)
                    .collect()
            }),
            memory_bytes: exit
                .rss_bytes
                .or_else(|| live.as_ref().and_then(|live| live.memory_bytes)),
            stderr_tail: exit.stderr_tail,
        };
        if let Some(live) = live {
            live.close();
        }
        if !exit.survivors.is_empty() {
            tracing::error!(
                instance = %key.instance,
                reason = ?exit.survivors,
                "processes outlived SIGKILL; they wait for the kernel"
            );
        }
        let exit = match exit.exit {
            Some(router_supervisor::Exit::Code(code)) => Exit::Code(code),
            Some(router_supervisor::Exit::Signal(signal)) => Exit::Signal(signal),
            None => Exit::Unknown,
        };
        self.step(Event::Exited {
            key,
            run,
            exit,
            evidence,
        });
    }

    fn sampled(&mut self, key: SlotKey, run: Run, rss_bytes: u64, processes: u32) {
        let figures = self.parts.rooms.figures(&key.instance);
        let Some(live) = self.current(&key, run) else {
            return;
        };
        live.memory_bytes = Some(rss_bytes);
        let upstream = live.upstream.as_ref();
        let sample = Sample {
            memory_bytes: Some(rss_bytes),
            processes,
            in_flight: upstream.map_or(0, |upstream| {
                u32::try_from(upstream.in_flight()).unwrap_or(u32::MAX)
            }),
            answered_ago_ms: upstream.map(|upstream| millis(upstream.silent_for())),
            window_requests: figures.requests,
            window_errors: figures.errors,
            window_p95_ms: figures.p95_ms,
        };
        self.step(Event::Sampled { key, run, sample });
    }

    fn relist(&self, key: SlotKey, run: Run) {
        let Some(upstream) = self.upstream(&key, run) else {
            return;
        };
        let inner = self.inner.clone();
        self.tasks.spawn(async move {
            match upstream.tools(RELIST).await {
                Ok(tools) => {
                    let listed = Inner::Core(Event::ToolsListed { key, run, tools });
                    let _ = inner.send(listed).await;
                }
                Err(error) => tracing::warn!(
                    instance = %key.instance,
                    error = chain(&error),
                    "the changed tool list could not be read"
                ),
            }
        });
    }

    /// A survivor of an earlier router: it is connected again before the core hears of it.
    fn found(&mut self, key: SlotKey, run: Run, adoption: Adoption) {
        let kept = adoption.blob.as_deref().and_then(Kept::from_bytes);
        let kept = kept.unwrap_or_else(Kept::started);
        let handshake = kept.handshake();
        let since = kept.ready_at_unix_ms.unwrap_or(adoption.started_at_ms);
        let adopted = Box::new(Adopted {
            key: key.clone(),
            run,
            pid: adoption.pid,
            digest: u64::from_str_radix(&adoption.spec_digest, 16).unwrap_or_default(),
            tools: handshake.as_ref().map(|known| known.tools().to_vec()),
            baseline: kept.baseline.clone(),
            age_ms: unix_ms().saturating_sub(since),
            wanted: kept.wanted && adoption.io.is_some(),
        });
        let Some(io) = adoption.io else {
            return self.resumed(*adopted, None, kept, None);
        };
        self.adopting.pending += 1;
        let plan = self.parts.plans.get(&key.instance);
        let wait = plan.map_or(Waits::DEFAULT, |plan| plan.waits);
        let config = self.upstream_config(&key, run, wait);
        let (inner, hears) = (self.inner.clone(), self.hears(&key, run));
        let front = self.parts.front.clone();
        let task = async move {
            let opened = match io {
                InstanceIo::Stdio { stdin, stdout } => {
                    Upstream::open_pipes(config, stdin, stdout, hears)
                }
                InstanceIo::Socket(path) => {
                    Upstream::connect(config, &path, wait.socket, hears).await
                }
            };
            let (upstream, fault) = match opened {
                Ok((upstream, connection)) => {
                    let known = handshake.is_some();
                    if let Some(handshake) = handshake {
                        upstream.adopt(handshake);
                    }
                    front.spawn(tell_end(key, run, connection, inner.clone()));
                    let fault = match known {
                        true => upstream
                            .resync(wait.socket)
                            .await
                            .err()
                            .map(|error| chain(&error)),
                        false => None,
                    };
                    (Some(upstream), fault)
                }
                Err(error) => (None, Some(chain(&error))),
            };
            let resumed = Inner::Resumed {
                adopted,
                upstream,
                kept: Box::new(kept),
                fault,
            };
            let _ = inner.send(resumed).await;
        };
        self.tasks.spawn_on(task, &self.parts.front);
    }

    fn resumed(
        &mut self,
        adopted: Adopted,
        upstream: Option<Arc<Upstream>>,
        kept: Kept,
        fault: Option<String>,
    ) {
        let (key, run) = (adopted.key.clone(), adopted.run);
        let (is_running, is_ready) = (adopted.wanted, adopted.tools.is_some());
        let wait = self
            .parts
            .plans
            .get(&key.instance)
            .map_or(Waits::DEFAULT, |plan| plan.waits);
        let live = Live {
            run,
            upstream: upstream.clone(),
            kept,
            wait,
            ready_by_ms: 0,
            memory_bytes: None,
        };
        self.live.insert(key.clone(), live);
        self.step(Event::Adopted(Box::new(adopted)));
        match (fault, upstream) {
            (Some(error), _) => self.step(Event::UpstreamLost { key, run, error }),
            // The router before died before this one had answered its handshake: the wait starts over.
            (None, Some(upstream)) if is_running && !is_ready => {
                self.greet(key, run, upstream, wait.socket, wait.socket * 2);
            }
            _ => {}
        }
        self.maybe_adopted_all();
    }

    fn maybe_adopted_all(&mut self) {
        if self.adopting.all_found && self.adopting.pending == 0 {
            self.adopting.all_found = false;
            self.step(Event::AdoptionFinished);
        }
    }

    /// The next router need not keep this run.
    pub(super) fn note_unwanted(&mut self, key: &SlotKey, run: Run) {
        if let Some(live) = self.current(key, run)
            && live.kept.wanted
        {
            live.kept.wanted = false;
            let blob = live.kept.to_bytes();
            self.parts.supervisor.put_blob(key, run, blob);
        }
    }

    pub(super) fn keep_baseline(&mut self, key: &SlotKey, tools: Vec<String>) {
        if let Some(live) = self.live.get_mut(key) {
            live.kept.baseline = Some(tools);
            let (run, blob) = (live.run, live.kept.to_bytes());
            self.parts.supervisor.put_blob(key, run, blob);
        }
    }

    pub(super) fn forget_baselines(&mut self, instance: &InstanceId) {
        for (key, live) in &mut self.live {
            if key.instance == *instance && live.kept.baseline.take().is_some() {
                let blob = live.kept.to_bytes();
                self.parts.supervisor.put_blob(key, live.run, blob);
            }
        }
    }

    /// Lets go of a run that outlives the router: the descriptors are closed first.
    pub(super) fn release(&mut self, key: &SlotKey, run: Run) {
        if let Some(live) = self.forget(key, run) {
            live.close();
        }
        self.parts.supervisor.release(key, run);
    }

    fn forget(&mut self, key: &SlotKey, run: Run) -> Option<Live> {
        self.current(key, run)?;
        self.live.remove(key)
    }

    fn drive(&self, key: &SlotKey, run: Run, connection: Connection) {
        let told = tell_end(key.clone(), run, connection, self.inner.clone());
        self.tasks.spawn_on(told, &self.parts.front);
    }

    fn hears(&self, key: &SlotKey, run: Run) -> Arc<dyn UpstreamEvents> {
        Arc::new(Heard {
            key: key.clone(),
            run,
            inner: self.inner.clone(),
        })
    }

    fn upstream_config(&self, key: &SlotKey, run: Run, wait: Waits) -> UpstreamConfig {
        let prefix = format!("e{}", self.parts.epoch);
        UpstreamConfig {
            request_timeout: wait.request,
            cache_ttl: wait.cache_ttl,
            ..UpstreamConfig::new(key.instance.clone(), run, prefix)
        }
    }
}

/// Methods in flight that are kept as evidence.
const IN_FLIGHT_KEPT: usize = 50;

impl Waits {
    /// For a survivor whose definition is gone: it is only being stopped.
    const DEFAULT: Self = Self {
        socket: Duration::from_secs(5),
        request: Duration::from_secs(300),
        cache_ttl: Duration::ZERO,
    };
}

async fn tell_end(key: SlotKey, run: Run, connection: Connection, inner: mpsc::Sender<Inner>) {
    let closed = connection.await;
    let _ = inner.send(Inner::Ended { key, run, closed }).await;
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
    Inner::Core(Event::HandshakeFailed { key, run, error })
}

/// An error with all its sources, for people.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
