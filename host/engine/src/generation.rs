//! One generation of a plugin: compiled, checked, and asked. Each call has a store of its own, made ahead, so that a call pays
//! for itself only; whatever goes wrong in a store ends with it.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use router_core::health::{Health, HealthFacts, HealthVerdict};
use serde::Serialize;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline, component::Component};

use crate::{
    Limits,
    bindings::{
        Facts, HealthPolicy, HealthPolicyPre, Status, Verdict,
        types::{ConfigFault, Description, Setting},
    },
    contract::{self, FAILED_AT_LOAD, INTERNAL, Misfit},
    guest::{Bound, Guest, Turns, WAITING_FACTOR, cut, look_at_clock},
    machine::Machine,
    values::PluginValues,
};

/// Bytes that may cross in one host call or answer: the facts with all their strings are a tenth of it.
const CROSSING_BYTES_MAX: usize = 1024 * 1024;

/// Longest reason, name and other text of a guest, as `wit/` states them.
const REASON_BYTES_MAX: usize = 1024;
const NAME_BYTES_MAX: usize = 64;
const WORD_BYTES_MAX: usize = 256;

/// Most attributes, as `wit/types.wit` states it, and most faults of a configuration that are told.
const ATTRIBUTES_MAX: usize = 64;
const FAULTS_MAX: usize = 32;

/// Beyond a call's own deadline: for a guest that waits in the host, where no tick reaches it.
const WALL_GRACE: Duration = Duration::from_millis(20);

/// `describe` and `validate-config` may build tables that a call does not.
const LOAD_CALL_WITHIN: Duration = Duration::from_millis(500);

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// What happened, for people.
    pub words: String,
}

/// The kinds of failure. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Its time was up.
    Timeout,
    /// It trapped.
    Trap,
    /// It ran into a bound: memory, tables, host calls, log, bytes.
    Limit,
    /// No store could be made for it.
    Start,
}

impl FailureKind {
    /// The word in metrics and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Trap => "trap",
            Self::Limit => "limit",
            Self::Start => "start",
        }
    }
}

/// A store with its guest, to be asked once.
pub(crate) struct Ready {
    store: Store<Guest>,
    guest: HealthPolicy,
}

/// What came of one call.
pub(crate) struct Judged {
    pub(crate) answer: Result<HealthVerdict, Failure>,
    /// How long the call took, with the way of facts and verdict in and out.
    pub(crate) took: Duration,
    /// The store that it had.
    pub(crate) spent: Option<Ready>,
}

/// See the module.
pub(crate) struct Generation {
    pub(crate) plugin: Arc<str>,
    pub(crate) number: u64,
    pub(crate) digest: String,
    pub(crate) description: Description,
    pub(crate) limits: Limits,
    settings: Vec<Setting>,
    values: Arc<PluginValues>,
    machine: Arc<Machine>,
    compiled: Compiled,
    ahead: Mutex<Option<Ready>>,
}

/// A component, checked and linked, and the digest of its file: another generation of the same file need not compile it again.
#[derive(Clone)]
pub(crate) struct Compiled {
    wasm_digest: String,
    linked: HealthPolicyPre<Guest>,
}

/// What a generation is made from.
pub(crate) struct Candidate {
    pub(crate) plugin: Arc<str>,
    pub(crate) number: u64,
    pub(crate) digest: String,
    pub(crate) wasm: Vec<u8>,
    pub(crate) wasm_digest: String,
    pub(crate) settings: Vec<Setting>,
    pub(crate) limits: Limits,
    pub(crate) values: Arc<PluginValues>,
    /// What the generation before was made of.
    pub(crate) before: Option<Compiled>,
}

impl Generation {
    /// Checks, compiles, links and questions a candidate. Must run on the machine's runtime.
    pub(crate) async fn load(machine: Arc<Machine>, candidate: Candidate) -> Result<Self, Misfit> {
        contract::check_bytes(&candidate.wasm)?;
        let Candidate {
            plugin,
            number,
            digest,
            wasm,
            wasm_digest,
            settings,
            limits,
            values,
            before,
        } = candidate;
        let compiled = match before.filter(|before| before.wasm_digest == wasm_digest) {
            Some(before) => before,
            None => {
                let machine = Arc::clone(&machine);
                let linked = tokio::task::spawn_blocking(move || compile(&machine, &wasm)).await;
                let linked = linked.map_err(|error| Misfit::new(INTERNAL, error.to_string()))??;
                Compiled {
                    wasm_digest,
                    linked,
                }
            }
        };
        let mut generation = Self {
            plugin,
            number,
            digest,
            description: Description {
                name: String::new(),
                version: String::new(),
                summary: String::new(),
                attributes: Vec::new(),
            },
            limits,
            settings,
            values,
            machine,
            compiled,
            ahead: Mutex::new(None),
        };
        generation.question().await?;
        generation.refill().await;
        Ok(generation)
    }

    /// What it is, and whether it takes its configuration.
    async fn question(&mut self) -> Result<(), Misfit> {
        let failed = |what: &str, failure: Failure| {
            Misfit::new(FAILED_AT_LOAD, format!("{what} failed: {failure}"))
        };
        let mut ready = self
            .instantiate()
            .await
            .map_err(|failure| failed("starting it", failure))?;
        let described = call(&mut ready, LOAD_CALL_WITHIN, async |ready| {
            let lifecycle = ready.guest.router_plugin_lifecycle();
            lifecycle.call_describe(&mut ready.store).await
        })
        .await;
        drop(ready);
        let mut description = described.map_err(|failure| failed("describe", failure))?;
        for (text, bytes_max) in [
            (&mut description.name, NAME_BYTES_MAX),
            (&mut description.version, NAME_BYTES_MAX),
            (&mut description.summary, WORD_BYTES_MAX),
        ] {
            text.truncate(cut(text, bytes_max).len());
        }
        bound(&mut description.attributes);
        self.description = description;
        let mut ready = self
            .instantiate()
            .await
            .map_err(|failure| failed("starting it", failure))?;
        let settings = &self.settings;
        let checked = call(&mut ready, LOAD_CALL_WITHIN, async |ready| {
            let lifecycle = ready.guest.router_plugin_lifecycle();
            lifecycle
                .call_validate_config(&mut ready.store, settings)
                .await
        })
        .await;
        drop(ready);
        let faults = checked.map_err(|failure| failed("validate-config", failure))?;
        refused(&self.plugin, &faults)
    }

    /// What it was compiled to.
    pub(crate) fn compiled(&self) -> Compiled {
        self.compiled.clone()
    }

    /// How many values of it are in memory only.
    pub(crate) fn unwritten(&self) -> usize {
        self.values.unwritten()
    }

    /// Judges one slot. Must run on the machine's runtime.
    pub(crate) async fn judge(&self, facts: &HealthFacts) -> Judged {
        let ahead = self.ahead.lock().take();
        let ready = match ahead {
            Some(ready) => Ok(ready),
            None => self.instantiate().await,
        };
        let mut ready = match ready {
            Ok(ready) => ready,
            Err(failure) => {
                return Judged {
                    answer: Err(failure),
                    took: Duration::ZERO,
                    spent: None,
                };
            }
        };
        let begun = Instant::now();
        let facts = told(facts);
        let settings = &self.settings;
        let answer = call(&mut ready, self.limits.call_timeout, async |ready| {
            let health = ready.guest.router_plugin_health();
            health.call_judge(&mut ready.store, &facts, settings).await
        })
        .await;
        Judged {
            answer: answer.map(heard),
            took: begun.elapsed(),
            spent: Some(ready),
        }
    }

    /// Makes the store for the next call.
    pub(crate) async fn refill(&self) {
        if self.ahead.lock().is_some() {
            return;
        }
        if let Ok(ready) = self.instantiate().await {
            *self.ahead.lock() = Some(ready);
        }
    }

    /// Makes a store and lets go of it.
    pub(crate) async fn make_one(&self) -> Result<(), Failure> {
        self.instantiate().await.map(drop)
    }

    async fn instantiate(&self) -> Result<Ready, Failure> {
        let plugin = Arc::clone(&self.plugin);
        let data = Guest::new(plugin, self.limits.clone(), Arc::clone(&self.values));
        let mut store = Store::new(&self.machine.engine, data);
        store.limiter(|guest| &mut guest.space);
        store.set_hostcall_fuel(CROSSING_BYTES_MAX);
        store.epoch_deadline_callback(|store| {
            store.data().check()?;
            Ok(UpdateDeadline::YieldCustom(
                1,
                Box::pin(tokio::task::yield_now()),
            ))
        });
        let turns = begin(&mut store, LOAD_CALL_WITHIN);
        let made = self.compiled.linked.instantiate_async(&mut store);
        let guest = bounded(&turns, LOAD_CALL_WITHIN, made, FailureKind::Start).await;
        look_at_clock();
        guest.map(|guest| Ready { store, guest })
    }
}

/// The one call of a store, with its deadline.
async fn call<T>(
    ready: &mut Ready,
    within: Duration,
    ask: impl AsyncFnOnce(&mut Ready) -> wasmtime::Result<T>,
) -> Result<T, Failure> {
    let turns = begin(&mut ready.store, within);
    bounded(&turns, within, ask(ready), FailureKind::Trap).await
}

fn begin(store: &mut Store<Guest>, within: Duration) -> Arc<Turns> {
    store.set_epoch_deadline(1);
    store.data_mut().begin(within)
}

/// Whatever a guest does: ticks end what computes, and this ends what waits.
async fn bounded<T>(
    turns: &Turns,
    within: Duration,
    work: impl Future<Output = wasmtime::Result<T>>,
    otherwise: FailureKind,
) -> Result<T, Failure> {
    let mut work = pin!(turns.measure(work));
    // Nearly always over at once: then it needs no timer.
    let begun = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
    let ended = match begun {
        Poll::Ready(ended) => Ok(ended),
        Poll::Pending => {
            let waits_for = within * WAITING_FACTOR + WALL_GRACE;
            tokio::time::timeout(waits_for, work).await
        }
    };
    match ended {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failure(&error, otherwise)),
        Err(_) => Err(Failure {
            kind: FailureKind::Timeout,
            words: format!(
                "it waited for longer than {} ms",
                (within * WAITING_FACTOR).as_millis()
            ),
        }),
    }
}

/// Reads, checks and links a component. Takes tens of milliseconds, and seconds for an interpreted guest.
fn compile(machine: &Machine, wasm: &[u8]) -> Result<HealthPolicyPre<Guest>, Misfit> {
    let component = Component::from_binary(&machine.engine, wasm)
        .map_err(|error| contract::not_compiled(&error))?;
    contract::check(&component)?;
    let linked = machine.linker.instantiate_pre(&component);
    let linked = linked.and_then(HealthPolicyPre::new);
    linked.map_err(|error| mismatch(&error))
}

/// It imports and exports the right names, in the wrong shape.
fn mismatch(error: &wasmtime::Error) -> Misfit {
    let text = format!("{error:#}");
    Misfit::new(
        "wrong_version",
        format!(
            "its interfaces differ from those of this router ({}): rebuild it with the SDK and the wit/ of this router's version",
            cut(&text, REASON_BYTES_MAX)
        ),
    )
}

fn refused(plugin: &str, faults: &[ConfigFault]) -> Result<(), Misfit> {
    if faults.is_empty() {
        return Ok(());
    }
    let told = faults.iter().take(FAULTS_MAX).map(|fault| {
        let key = cut(&fault.key, WORD_BYTES_MAX);
        let reason = cut(&fault.reason, WORD_BYTES_MAX);
        format!("plugins.config.{plugin}.{key} {reason}")
    });
    Err(Misfit::new(
        "refused_config",
        format!(
            "it refuses its configuration: {}",
            told.collect::<Vec<_>>().join("; ")
        ),
    ))
}

/// What an error of wasmtime means, in words.
fn failure(error: &wasmtime::Error, otherwise: FailureKind) -> Failure {
    if let Some(bound) = error.downcast_ref::<Bound>() {
        let kind = match bound {
            Bound::Time(_) => FailureKind::Timeout,
            Bound::HostCalls(_) | Bound::Log(_) | Bound::Memory(_) | Bound::Tables(_) => {
                FailureKind::Limit
            }
        };
        return Failure {
            kind,
            words: bound.to_string(),
        };
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        let words = match trap {
            Trap::StackOverflow => "its stack overflowed".to_owned(),
            Trap::UnreachableCodeReached => {
                "it panicked (or reached what should be unreachable)".to_owned()
            }
            Trap::MemoryOutOfBounds => {
                "it reached beyond its memory, as a stack does that overflows".to_owned()
            }
            Trap::Interrupt => "it was interrupted".to_owned(),
            other => format!("it trapped: {other}"),
        };
        return Failure {
            kind: FailureKind::Trap,
            words,
        };
    }
    let text = format!("{error:#}");
    // The bounds that are wasmtime's own have no type: bytes that cross, and counts of memories, tables and instances. That there
    // is no room for one more store is not the guest's doing.
    let is_bound = ["fuel", "resource limit exceeded"]
        .iter()
        .any(|words| text.contains(words))
        && !error.is::<PoolConcurrencyLimitError>();
    Failure {
        kind: if is_bound {
            FailureKind::Limit
        } else {
            otherwise
        },
        words: cut(&text, REASON_BYTES_MAX).to_owned(),
    }
}

fn told(facts: &HealthFacts) -> Facts {
    Facts {
        instance: facts.instance.clone(),
        slot: facts.slot,
        uptime_ms: facts.uptime_ms,
        memory_bytes: facts.memory_bytes,
        memory_limit_bytes: facts.memory_limit_bytes,
        heartbeat_age_ms: facts.heartbeat_age_ms,
        pings_failed: facts.pings_failed,
        ping_ms: facts.ping_ms,
        window_requests: facts.window_requests,
        window_errors: facts.window_errors,
        window_p95_ms: facts.window_p95_ms,
        restarts_recent: facts.restarts_recent,
        in_flight: facts.in_flight,
        tools_missing: facts.tools_missing.clone(),
        tools_count: facts.tools_count,
        attributes: facts.attributes.clone(),
    }
}

/// Cuts attributes to what `wit/types.wit` states.
fn bound(attributes: &mut Vec<(String, String)>) {
    attributes.truncate(ATTRIBUTES_MAX);
    for (name, value) in attributes {
        name.truncate(cut(name, WORD_BYTES_MAX).len());
        value.truncate(cut(value, WORD_BYTES_MAX).len());
    }
}

fn heard(verdict: Verdict) -> HealthVerdict {
    let mut attributes = verdict.attributes;
    bound(&mut attributes);
    let health = match verdict.status {
        Status::Healthy => Health::Healthy,
        Status::Degraded => Health::Degraded,
        Status::Unhealthy => Health::Unhealthy,
    };
    let mut reason = verdict.reason;
    reason.truncate(cut(&reason, REASON_BYTES_MAX).len());
    if reason.is_empty() && health != Health::Healthy {
        "the policy gave no reason".clone_into(&mut reason);
    }
    HealthVerdict {
        health,
        reason,
        recycle: verdict.recycle,
        attributes,
    }
}

#[cfg(test)]
mod tests {
    use std::{future, time::Duration};

    use super::{ATTRIBUTES_MAX, FailureKind, Status, Turns, Verdict, bounded, heard};

    #[tokio::test(start_paused = true)]
    async fn what_waits_without_end_is_ended() {
        let waits = future::pending::<wasmtime::Result<()>>();
        let within = Duration::from_millis(500);
        let failure = bounded(&Turns::default(), within, waits, FailureKind::Start).await;
        assert_eq!(failure.unwrap_err().kind, FailureKind::Timeout);
    }

    #[test]
    fn a_verdict_is_cut_to_what_its_interface_states() {
        let long = "é".repeat(10_000);
        let verdict = heard(Verdict {
            status: Status::Degraded,
            reason: long.clone(),
            recycle: true,
            attributes: vec![(long.clone(), long); 100],
        });
        assert_eq!(verdict.reason.len(), 1024);
        assert_eq!(verdict.attributes.len(), ATTRIBUTES_MAX);
        for (name, value) in verdict.attributes {
            assert_eq!((name.len(), value.len()), (256, 256));
        }
    }
}
