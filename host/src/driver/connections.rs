//! The driver's side of each run: its connection, from the first byte to the last.

use std::{path::PathBuf, sync::Arc, time::Duration};

use router_core::{Run, SlotKey, event::Event};
use router_supervisor::InstanceIo;
use router_upstream::{
    Closed, Connection, Handshake, ListKind, Upstream, UpstreamConfig, UpstreamEvents,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Driver, Rooms, adopting::Resumed, kept::Kept};
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
    /// A run of an earlier life.
    pub(super) fn adopted(
        run: Run,
        (upstream, gone): (Option<Arc<Upstream>>, CancellationToken),
        kept: Kept,
        wait: Waits,
    ) -> Self {
        Self {
            run,
            upstream,
            gone,
            kept,
            wait,
            ready_by_ms: 0,
            memory_bytes: None,
        }
    }

    pub(super) fn close(&self) {
        if let Some(upstream) = &self.upstream {
            upstream.close();
        }
    }
}

/// Hears what a connection says, from the connection's own task.
struct Heard {
    key: SlotKey,
    run: Run,
    inner: mpsc::Sender<Inner>,
    rooms: Arc<dyn Rooms>,
}

impl UpstreamEvents for Heard {
    fn unknown_reply(&self) {
        self.rooms.late_reply();
    }

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
            gone: CancellationToken::new(),
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
            Inner::ToolsChanged { key, run } => self.relist(key, run),
            Inner::Resumed(resumed) => self.awaited(*resumed),
        }
    }

    pub(super) fn started(&mut self, key: SlotKey, run: Run, pid: u32, io: InstanceIo) {
        let Some(live) = self.current(&key, run) else {
            // Nobody waits for this run any more; the core asks for its end when it hears of it.
            return self.step(Event::Spawned { key, run, pid });
        };
        let blob = live.kept.to_bytes();
        let (wait, ready_by_ms, gone) = (live.wait, live.ready_by_ms, live.gone.clone());
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
                        let told =
                            tell_end((key.clone(), run), connection, gone, self.inner.clone());
                        self.tasks.spawn_on(told, &self.parts.front);
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
            InstanceIo::Socket(path) => self.reach((key, run), path, (config, wait, within), gone),
        }
    }

    /// Connects to an instance that listens itself, then greets it.
    fn reach(
        &self,
        (key, run): (SlotKey, Run),
        path: PathBuf,
        (config, wait, within): (UpstreamConfig, Waits, Duration),
        gone: CancellationToken,
    ) {
        let (inner, hears) = (self.inner.clone(), self.hears(&key, run));
        let front = self.parts.front.clone();
        let task = async move {
            let event = match Upstream::connect(config, &path, wait.socket.min(within), hears).await
            {
                Ok((upstream, connection)) => {
                    front.spawn(tell_end(
                        (key.clone(), run),
                        connection,
                        gone,
                        inner.clone(),
                    ));
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

    pub(super) fn hears(&self, key: &SlotKey, run: Run) -> Arc<dyn UpstreamEvents> {
        Arc::new(Heard {
            key: key.clone(),
            run,
            inner: self.inner.clone(),
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

impl Waits {
    /// For a survivor whose definition is gone: it is only being stopped.
    pub(super) const DEFAULT: Self = Self {
        socket: Duration::from_secs(5),
        request: Duration::from_secs(300),
        cache_ttl: Duration::ZERO,
    };
}

pub(super) async fn tell_end(
    (key, run): (SlotKey, Run),
    connection: Connection,
    gone: CancellationToken,
    inner: mpsc::Sender<Inner>,
) {
    let closed = connection.await;
    gone.cancel();
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
