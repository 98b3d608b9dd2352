//! Taking over what an earlier life of the router had started. Each survivor is connected again before the core hears of it,
//! so that its first request finds a connection that is in step.

use std::sync::Arc;

use router_core::{
    Run, SlotKey,
    event::{Adopted, Event},
};
use router_supervisor::{Adoption, InstanceIo};
use router_upstream::{Upstream, UpstreamConfig, UpstreamEvents};
use tokio_util::sync::CancellationToken;

use super::{
    Driver,
    connections::{Inner, Live, Waits, chain, tell_end},
    kept::Kept,
};
use crate::clock::unix_ms;

/// Survivors that are being connected again.
#[derive(Debug, Default)]
pub(super) struct Adopting {
    pending: usize,
    all_found: bool,
}

/// A survivor, connected again or not.
pub(super) struct Resumed {
    adopted: Adopted,
    upstream: Option<Arc<Upstream>>,
    gone: CancellationToken,
    kept: Kept,
    fault: Option<String>,
}

impl Driver {
    /// A survivor was found.
    pub(super) fn found(&mut self, key: SlotKey, run: Run, adoption: Adoption) {
        let kept = adoption.blob.as_deref().and_then(Kept::from_bytes);
        let kept = kept.unwrap_or_else(Kept::started);
        let handshake = kept.handshake();
        let since = kept.ready_at_unix_ms.unwrap_or(adoption.started_at_ms);
        let adopted = Adopted {
            key: key.clone(),
            run,
            pid: adoption.pid,
            digest: u64::from_str_radix(&adoption.spec_digest, 16).unwrap_or_default(),
            tools: handshake.as_ref().map(|known| known.tools().to_vec()),
            baseline: kept.baseline.clone(),
            age_ms: unix_ms().saturating_sub(since),
            wanted: kept.wanted && adoption.io.is_some(),
        };
        let mut resumed = Resumed {
            adopted,
            upstream: None,
            gone: CancellationToken::new(),
            kept,
            fault: None,
        };
        let Some(io) = adoption.io else {
            return self.resumed(resumed);
        };
        self.adopting.pending += 1;
        let plan = self.parts.plans.get(&key.instance);
        let wait = plan.map_or(Waits::DEFAULT, |plan| plan.waits);
        let config = self.upstream_config(&key, run, wait);
        let (inner, hears) = (self.inner.clone(), self.hears(&key, run));
        let front = self.parts.front.clone();
        let task = async move {
            match open(config, io, wait, hears).await {
                Ok((upstream, connection)) => {
                    let is_known = handshake.is_some();
                    if let Some(handshake) = handshake {
                        upstream.adopt(handshake);
                    }
                    let gone = resumed.gone.clone();
                    front.spawn(tell_end((key, run), connection, gone, inner.clone()));
                    if is_known {
                        let resynced = upstream.resync(wait.socket).await;
                        resumed.fault = resynced.err().map(|error| chain(&error));
                    }
                    resumed.upstream = Some(upstream);
                }
                Err(error) => resumed.fault = Some(chain(&error)),
            }
            let _ = inner.send(Inner::Resumed(Box::new(resumed))).await;
        };
        self.tasks.spawn_on(task, &self.parts.front);
    }

    /// A survivor whose connection was awaited.
    pub(super) fn awaited(&mut self, resumed: Resumed) {
        self.adopting.pending = self.adopting.pending.saturating_sub(1);
        self.resumed(resumed);
        self.maybe_adopted_all();
    }

    fn resumed(&mut self, resumed: Resumed) {
        let Resumed {
            adopted,
            upstream,
            gone,
            kept,
            fault,
        } = resumed;
        let (key, run) = (adopted.key.clone(), adopted.run);
        let (is_running, is_ready) = (adopted.wanted, adopted.tools.is_some());
        let plan = self.parts.plans.get(&key.instance);
        let wait = plan.map_or(Waits::DEFAULT, |plan| plan.waits);
        let live = Live::adopted(run, (upstream.clone(), gone), kept, wait);
        self.live.insert(key.clone(), live);
        self.step(Event::Adopted(Box::new(adopted)));
        match (fault, upstream) {
            (Some(error), _) => self.step(Event::UpstreamLost { key, run, error }),
            // The router before died before it had the answer to its handshake: the wait starts over.
            (None, Some(upstream)) if is_running && !is_ready => {
                self.greet(key, run, upstream, wait.socket, wait.socket * 2);
            }
            _ => {}
        }
    }

    /// Every shim was found.
    pub(super) fn found_all(&mut self) {
        self.adopting.all_found = true;
        self.maybe_adopted_all();
    }

    fn maybe_adopted_all(&mut self) {
        if self.adopting.all_found && self.adopting.pending == 0 {
            self.adopting.all_found = false;
            self.step(Event::AdoptionFinished);
        }
    }
}

async fn open(
    config: UpstreamConfig,
    io: InstanceIo,
    wait: Waits,
    hears: Arc<dyn UpstreamEvents>,
) -> Result<(Arc<Upstream>, router_upstream::Connection), router_upstream::OpenError> {
    match io {
        InstanceIo::Stdio { stdin, stdout } => Upstream::open_pipes(config, stdin, stdout, hears),
        InstanceIo::Socket(path) => Upstream::connect(config, &path, wait.socket, hears).await,
    }
}
