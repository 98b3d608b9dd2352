//! From a process that exists to a slot that is ready: its connection, the handshake, the first list of its tools.

use std::{path::PathBuf, sync::Arc, time::Duration};

use router_config::Waits;
use router_core::{Run, SlotKey, event::SlotEvent};
use router_supervisor::InstanceIo;
use router_upstream::{Handshake, Upstream, UpstreamConfig};
use router_values::{unix_ms_now, whole_ms};

use super::{
    live::{ConnectionReporter, InternalEvent, report_end},
    state::Driver,
};
use crate::error_chain::chain;

impl Driver {
    pub(super) fn started(&mut self, key: SlotKey, run: Run, pid: u32, io: InstanceIo) {
        let internal = self.internal.clone();
        let Some(live) = self.current(&key, run) else {
            // Nobody waits for this run any more; the core asks for its end when it gets the report.
            return self.step(SlotEvent::Spawned { pid }.on(key, run));
        };
        let bytes = live.blob.to_bytes();
        let (wait, ready_by_ms) = (live.wait, live.ready_by_ms);
        let reporter = live.reporter(&key, internal);
        self.parts.supervisor.put_blob(&key, run, bytes);
        self.step(SlotEvent::Spawned { pid }.on(key.clone(), run));
        let within = self.parts.clock.until(ready_by_ms);
        let config = self.upstream_config(&key, run, wait);
        match io {
            InstanceIo::Stdio { stdin, stdout } => {
                let opened = {
                    let _in_front = self.parts.front.enter();
                    Upstream::open_pipes(config, stdin, stdout, self.listener(&reporter))
                };
                match opened {
                    Ok((upstream, connection)) => {
                        let polling = report_end(reporter, connection);
                        self.tasks.spawn_on(polling, &self.parts.front);
                        self.opened(&key, run, Arc::clone(&upstream));
                        self.begin_handshake(key, run, upstream, wait.socket.min(within), within);
                    }
                    Err(error) => self.step(
                        SlotEvent::HandshakeFailed {
                            error: chain(&error),
                        }
                        .on(key, run),
                    ),
                }
            }
            InstanceIo::Socket(path) => self.connect(reporter, path, config, wait, within),
        }
    }

    /// Connects to an instance that listens itself, and does the handshake.
    fn connect(
        &self,
        reporter: ConnectionReporter,
        path: PathBuf,
        config: UpstreamConfig,
        wait: Waits,
        within: Duration,
    ) {
        let listener = self.listener(&reporter);
        let (front, tasks) = (self.parts.front.clone(), self.tasks.clone());
        let task = async move {
            let (key, run) = (reporter.key.clone(), reporter.run);
            let internal = reporter.internal.clone();
            let event =
                match Upstream::connect(config, &path, wait.socket.min(within), listener).await {
                    Ok((upstream, connection)) => {
                        tasks.spawn_on(report_end(reporter, connection), &front);
                        let opened = InternalEvent::Opened {
                            key: key.clone(),
                            run,
                            upstream: Arc::clone(&upstream),
                        };
                        let _ = internal.send(opened).await;
                        handshake(key, run, &upstream, wait.socket.min(within), within).await
                    }
                    Err(error) => InternalEvent::Core(
                        SlotEvent::HandshakeFailed {
                            error: chain(&error),
                        }
                        .on(key, run),
                    ),
                };
            let _ = internal.send(event).await;
        };
        self.tasks.spawn_on(task, &self.parts.front);
    }

    pub(super) fn begin_handshake(
        &self,
        key: SlotKey,
        run: Run,
        upstream: Arc<Upstream>,
        answer_within: Duration,
        within: Duration,
    ) {
        let internal = self.internal.clone();
        self.tasks.spawn(async move {
            let event = handshake(key, run, &upstream, answer_within, within).await;
            let _ = internal.send(event).await;
        });
    }

    pub(super) fn handshaken(&mut self, key: SlotKey, run: Run, handshake: &Handshake) {
        if let Some(live) = self.current(&key, run) {
            live.blob.handshaken(handshake, unix_ms_now());
            let bytes = live.blob.to_bytes();
            self.parts.supervisor.put_blob(&key, run, bytes);
        }
        let tools = handshake.tools().to_vec();
        self.step(SlotEvent::Ready { tools }.on(key, run));
    }
}

/// The handshake, then the tools; together within `within`.
async fn handshake(
    key: SlotKey,
    run: Run,
    upstream: &Upstream,
    answer_within: Duration,
    within: Duration,
) -> InternalEvent {
    let answered = tokio::time::timeout(within, async {
        let handshake = upstream.handshake(answer_within).await?;
        let tools = upstream.tools(within).await?;
        Ok::<_, router_upstream::OwnCallError>(handshake.with_tools(tools))
    });
    let error = match answered.await {
        Ok(Ok(handshake)) => {
            return InternalEvent::Handshaken {
                key,
                run,
                handshake: Box::new(handshake),
            };
        }
        Ok(Err(error)) => chain(&error),
        Err(_) => format!(
            "it was not ready within {} ms (instances.spawn_timeout, INSTANCE_SPAWN_TIMEOUT)",
            whole_ms(within)
        ),
    };
    InternalEvent::Core(SlotEvent::HandshakeFailed { error }.on(key, run))
}
