//! Taking over what an earlier life of the router had started. Each survivor is connected again before the core hears of it, so
//! that its first request finds a connection that is in step.

use std::sync::Arc;

use router_config::Waits;
use router_core::{
    Run, SlotKey,
    event::{Adopted, FleetEvent, SlotEvent},
};
use router_supervisor::{Adoption, InstanceIo};
use router_upstream::{Upstream, UpstreamConfig, UpstreamEvents};
use router_values::unix_ms_now;

use super::{
    live::{InternalEvent, Live, Resumed, report_end},
    shim_blob::ShimBlob,
    state::Driver,
};
use crate::error_chain::chain;

impl Driver {
    /// A survivor was found.
    pub(super) fn found(&mut self, key: &SlotKey, run: Run, adoption: Adoption) {
        let blob = adoption.blob.as_deref().and_then(ShimBlob::from_bytes);
        let blob = blob.unwrap_or_else(ShimBlob::started);
        // The MCP session of a `socket` instance is its connection's, and ended with it: it is greeted again.
        let is_new_session = matches!(adoption.io, Some(InstanceIo::Socket(_)));
        let handshake = blob.handshake().filter(|_| !is_new_session);
        let since = blob.ready_at_unix_ms.unwrap_or(adoption.started_at_ms);
        let adopted = Adopted {
            key: key.clone(),
            run,
            pid: adoption.pid,
            digest: u64::from_str_radix(&adoption.spec_digest, 16).unwrap_or_default(),
            tools: handshake.as_ref().map(|known| known.tools().to_vec()),
            baseline: blob.baseline.clone(),
            age_ms: unix_ms_now().saturating_sub(since),
            wanted: blob.wanted && adoption.io.is_some(),
        };
        let wait = self.waits(&key.instance);
        let mut resumed = Resumed {
            adopted,
            live: Live::new(run, blob, wait, 0),
            fault: None,
        };
        let Some(io) = adoption.io else {
            return self.resumed(resumed);
        };
        self.survivors.connecting(key.clone());
        let config = self.upstream_config(key, run, wait);
        let internal = self.internal.clone();
        let reporter = resumed.live.reporter(key, internal.clone());
        let listener = self.listener(&reporter);
        let (front, tasks) = (self.parts.front.clone(), self.tasks.clone());
        let task = async move {
            match open(config, io, wait, listener).await {
                Ok((upstream, connection)) => {
                    let is_known = handshake.is_some();
                    if let Some(handshake) = handshake {
                        upstream.adopt(handshake);
                    }
                    tasks.spawn_on(report_end(reporter, connection), &front);
                    if is_known && let Err(error) = upstream.resync(wait.socket).await {
                        // An instance that is busy for longer lives all the same: its pings decide, as they do of any other.
                        let is_lost = upstream.closed().is_some();
                        resumed.fault = is_lost.then(|| chain(&error));
                    }
                    resumed.live.upstream = Some(upstream);
                }
                Err(error) => resumed.fault = Some(chain(&error)),
            }
            let _ = internal
                .send(InternalEvent::Resumed(Box::new(resumed)))
                .await;
        };
        self.tasks.spawn_on(task, &self.parts.front);
    }

    /// A survivor whose connection was awaited.
    pub(super) fn awaited(&mut self, resumed: Resumed) {
        let held_back = self.survivors.connected(&resumed.adopted.key);
        self.resumed(resumed);
        for event in held_back {
            self.handle_supervisor_event(event);
        }
        self.maybe_adopted_all();
    }

    fn resumed(&mut self, resumed: Resumed) {
        let Resumed {
            adopted,
            live,
            fault,
        } = resumed;
        let (key, run) = (adopted.key.clone(), adopted.run);
        let (is_running, is_ready) = (adopted.wanted, adopted.tools.is_some());
        let wait = self.waits(&key.instance);
        let upstream = live.upstream.clone();
        self.live.insert(key.clone(), live);
        self.step(FleetEvent::Adopted(Box::new(adopted)));
        let Some(upstream) = upstream else {
            if let Some(error) = fault {
                self.step(SlotEvent::UpstreamLost { error }.on(key, run));
            }
            return;
        };
        match (fault, upstream.closed()) {
            (Some(error), _) => self.step(SlotEvent::UpstreamLost { error }.on(key, run)),
            // It ended between its answer and now, when nobody knew the run yet.
            (None, Some(closed)) => self.ended(key, run, &closed),
            // The router before died before it had the answer to its handshake: the wait starts over.
            (None, None) if is_running && !is_ready => {
                self.begin_handshake(key, run, upstream, wait.socket, wait.socket * 2);
            }
            (None, None) => {}
        }
    }

    /// Every shim was found.
    pub(super) fn found_all(&mut self) {
        self.survivors.found_all();
        self.maybe_adopted_all();
    }

    fn maybe_adopted_all(&mut self) {
        if self.survivors.finish() {
            self.step(FleetEvent::AdoptionFinished);
        }
    }
}

async fn open(
    config: UpstreamConfig,
    io: InstanceIo,
    wait: Waits,
    listener: Arc<dyn UpstreamEvents>,
) -> Result<(Arc<Upstream>, router_upstream::Connection), router_upstream::OpenError> {
    match io {
        InstanceIo::Stdio { stdin, stdout } => {
            Upstream::open_pipes(config, stdin, stdout, listener)
        }
        InstanceIo::Socket(path) => Upstream::connect(config, &path, wait.socket, listener).await,
    }
}
