//! One generation of a plugin: compiled, checked, and asked. Each call has a store of its own, made ahead, so that a call pays
//! for itself only; whatever goes wrong in a store ends with it.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use router_egress::Egress;
use wasmtime::{
    Store, UpdateDeadline,
    component::{Component, Instance, InstancePre},
};

use crate::{
    Limits,
    bindings::{
        lifecycle,
        types::{ConfigFault, Description, Setting},
    },
    contract,
    failure::{CallFailure, FailureKind},
    guest::{CallTime, CpuMeter, GuestState, LineRate, Sending, read_clock},
    kinds::{Contract, Exports, Kind, Load, Served, Unit},
    machine::Machine,
    rejection::{FAILED_AT_LOAD, INTERNAL, REFUSED_CONFIG, Rejection},
    texts::{NAME_BYTES_MAX, TEXT_BYTES_MAX, cut, truncate, truncate_attributes},
    values::PluginValues,
};

/// Most faults of a configuration that are reported.
const FAULTS_MAX: usize = 32;

/// Beyond a call's own deadline: for a guest that waits in the host, where no tick reaches it.
const WALL_GRACE: Duration = Duration::from_millis(20);

/// `describe` and `validate-config` may build tables that a call does not. The same bounds a store's making.
const LOAD_TIME: CallTime = CallTime {
    running: Duration::from_millis(500),
    wall: Duration::from_secs(5),
};

/// A store with its guest, to be asked once.
pub(crate) struct Ready {
    store: Store<GuestState>,
    exports: Exports,
}

/// What came of one call.
pub(crate) struct Called<A> {
    pub(crate) answer: Result<A, CallFailure>,
    /// How long the call took, with the way of question and answer in and out.
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
    limits: Limits,
    settings: Vec<Setting>,
    values: Arc<PluginValues>,
    egress: Option<Egress>,
    machine: Arc<Machine>,
    compiled: Compiled,
    /// Of all its stores.
    line_rate: Arc<LineRate>,
    ahead: Mutex<Option<Ready>>,
}

/// A component, checked and linked, and the digest of its file: another generation of the same file need not compile it again.
#[derive(Clone)]
pub(crate) struct Compiled {
    wasm_digest: String,
    contract: &'static Contract,
    linked: InstancePre<GuestState>,
    lifecycle: lifecycle::GuestIndices,
    load: Arc<Load<Exports>>,
}

/// What a generation is made from.
pub(crate) struct GenerationParts {
    pub(crate) plugin: Arc<str>,
    pub(crate) number: u64,
    pub(crate) digest: String,
    pub(crate) wasm: Vec<u8>,
    pub(crate) wasm_digest: String,
    pub(crate) settings: Vec<Setting>,
    /// Where those stand in the configuration.
    pub(crate) config_path: String,
    /// Of a sink.
    pub(crate) egress: Option<Egress>,
    pub(crate) limits: Limits,
    pub(crate) values: Arc<PluginValues>,
    /// What the generation before was made of.
    pub(crate) before: Option<Compiled>,
}

impl Generation {
    /// Checks, compiles and links a candidate, and asks it what every plugin is asked. Must run on the machine's runtime.
    pub(crate) async fn load(
        machine: Arc<Machine>,
        candidate: GenerationParts,
    ) -> Result<Self, Rejection> {
        contract::check_bytes(&candidate.wasm)?;
        let GenerationParts {
            plugin,
            number,
            digest,
            wasm,
            wasm_digest,
            settings,
            config_path,
            egress,
            limits,
            values,
            before,
        } = candidate;
        let compiled = match before.filter(|before| before.is_of(&wasm_digest)) {
            Some(before) => before,
            None => {
                let machine = Arc::clone(&machine);
                let compile = move || Compiled::new(&machine, &wasm, wasm_digest);
                let compiled = tokio::task::spawn_blocking(compile).await;
                compiled.map_err(|error| Rejection::new(INTERNAL, error.to_string()))??
            }
        };
        let unit = compiled.contract.unit;
        if unit == Unit::Plugin && egress.is_some() {
            let world = compiled.contract.world;
            let reason = format!(
                "its plugin is a {world}, which delivers nothing: name one that is an alert-sink"
            );
            return Err(Rejection::new("wrong_world", reason));
        }
        // The file of sinks is no sink: it is examined, and never asked.
        let is_asked = unit == Unit::Plugin || egress.is_some();
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
            egress,
            machine,
            compiled,
            line_rate: Arc::default(),
            ahead: Mutex::new(None),
        };
        generation.description = generation.describe().await?;
        if is_asked {
            generation.validate_config(&config_path).await?;
            generation.refill().await;
        }
        Ok(generation)
    }

    /// What it is.
    async fn describe(&self) -> Result<Description, Rejection> {
        let described = self.ask_lifecycle("describe", async |guest, store| {
            guest.call_describe(store).await
        });
        let mut description = described.await?;
        truncate(&mut description.name, NAME_BYTES_MAX);
        truncate(&mut description.version, NAME_BYTES_MAX);
        truncate(&mut description.summary, TEXT_BYTES_MAX);
        truncate_attributes(&mut description.attributes);
        Ok(description)
    }

    /// Whether it takes its configuration.
    async fn validate_config(&self, config_path: &str) -> Result<(), Rejection> {
        let settings = &self.settings;
        let checked = self.ask_lifecycle("validate-config", async |guest, store| {
            guest.call_validate_config(store, settings).await
        });
        refused_config(config_path, &checked.await?)
    }

    async fn ask_lifecycle<T>(
        &self,
        what: &str,
        ask: impl AsyncFnOnce(&lifecycle::Guest, &mut Store<GuestState>) -> wasmtime::Result<T>,
    ) -> Result<T, Rejection> {
        let failed = |what: &str, failure: CallFailure| {
            Rejection::new(FAILED_AT_LOAD, format!("{what} failed: {failure}"))
        };
        let made = self.instantiate().await;
        let (mut store, instance) = made.map_err(|failure| failed("starting it", failure))?;
        // Names were compared when it was linked; their types are now.
        let guest = self.compiled.lifecycle.load(&mut store, &instance);
        let guest = guest.map_err(|error| Rejection::mismatch(&error))?;
        (self.compiled.load)(&mut store, &instance).map_err(|error| Rejection::mismatch(&error))?;
        let meter = begin(&mut store, LOAD_TIME);
        let asked = ask(&guest, &mut store);
        let answer = bounded(&meter, LOAD_TIME, asked, FailureKind::Trap).await;
        let printed = |failure: CallFailure| failure.with_printed(store.data().printed());
        answer.map_err(|failure| failed(what, printed(failure)))
    }

    /// What it was compiled to.
    pub(crate) fn compiled(&self) -> Compiled {
        self.compiled.clone()
    }

    /// Its kind.
    pub(crate) fn contract(&self) -> &'static Contract {
        self.compiled.contract
    }

    /// How often each secret of a sink was used.
    pub(crate) fn secret_uses(&self) -> BTreeMap<String, u64> {
        let egress = self.egress.as_ref();
        egress.map_or_else(BTreeMap::new, Egress::secret_uses)
    }

    /// How many values of it are in memory only.
    pub(crate) fn unwritten(&self) -> usize {
        self.values.unwritten()
    }

    /// Asks it one question. Must run on a runtime of the machine.
    pub(crate) async fn call<K: Kind>(&self, question: &K::Question) -> Called<K::Answer> {
        let ahead = self.ahead.lock().take();
        let ready = match ahead {
            Some(ready) => Ok(ready),
            None => self.prepare().await,
        };
        let mut ready = match ready {
            Ok(ready) => ready,
            Err(failure) => return Called::not_begun(failure),
        };
        let Ready { store, exports } = &mut ready;
        let Some(exports) = exports.downcast_ref::<K::Exports>() else {
            let message = format!("it is no plugin for the world {}", K::CONTRACT.world);
            return Called::not_begun(CallFailure::new(FailureKind::Start, message));
        };
        let time = CallTime {
            running: self.limits.call_timeout,
            wall: (K::CONTRACT.budget.wall)(self.limits.call_timeout),
        };
        let begun = Instant::now();
        let meter = begin(store, time);
        let call = K::call(exports, store, question, &self.settings);
        let answer = bounded(&meter, time, call, FailureKind::Trap).await;
        let took = begun.elapsed();
        let printed = |failure: CallFailure| failure.with_printed(store.data().printed());
        Called {
            answer: answer.map_err(printed),
            took,
            spent: Some(ready),
        }
    }

    /// Makes the store for the next call.
    pub(crate) async fn refill(&self) {
        if self.ahead.lock().is_some() {
            return;
        }
        if let Ok(ready) = self.prepare().await {
            *self.ahead.lock() = Some(ready);
        }
    }

    /// Drops the store that is ahead: it is not asked for a while.
    pub(crate) fn rest(&self) {
        self.ahead.lock().take();
    }

    /// Makes a store and drops it.
    pub(crate) async fn make_one(&self) -> Result<(), CallFailure> {
        self.prepare().await.map(drop)
    }

    async fn prepare(&self) -> Result<Ready, CallFailure> {
        let (mut store, instance) = self.instantiate().await?;
        let exports = (self.compiled.load)(&mut store, &instance)
            .map_err(|error| CallFailure::of(&error, FailureKind::Start))?;
        Ok(Ready { store, exports })
    }

    async fn instantiate(&self) -> Result<(Store<GuestState>, Instance), CallFailure> {
        let plugin = Arc::clone(&self.plugin);
        let (values, line_rate) = (Arc::clone(&self.values), Arc::clone(&self.line_rate));
        let mut data = GuestState::new(plugin, self.limits.clone(), values, line_rate);
        if let Some(egress) = &self.egress {
            data.sending = Some(Sending::new(egress.clone(), self.machine.egress.clone()));
        }
        let mut store = Store::new(&self.machine.engine, data);
        store.limiter(|state| &mut state.space);
        store.set_hostcall_fuel(self.contract().budget.crossing_bytes);
        store.epoch_deadline_callback(|store| {
            store.data().check()?;
            Ok(UpdateDeadline::YieldCustom(
                1,
                Box::pin(tokio::task::yield_now()),
            ))
        });
        let meter = begin(&mut store, LOAD_TIME);
        let made = self.compiled.linked.instantiate_async(&mut store);
        let instance = bounded(&meter, LOAD_TIME, made, FailureKind::Start).await;
        // What this took is no call's.
        read_clock();
        match instance {
            Ok(instance) => Ok((store, instance)),
            Err(failure) => Err(failure.with_printed(store.data().printed())),
        }
    }
}

impl<A> Called<A> {
    fn not_begun(failure: CallFailure) -> Self {
        Self {
            answer: Err(failure),
            took: Duration::ZERO,
            spent: None,
        }
    }
}

impl Compiled {
    /// Whether it is of the file with this digest.
    pub(crate) fn is_of(&self, wasm_digest: &str) -> bool {
        self.wasm_digest == wasm_digest
    }

    /// Reads, checks and links a component. Takes tens of milliseconds, and seconds for an interpreted guest.
    fn new(machine: &Machine, wasm: &[u8], wasm_digest: String) -> Result<Self, Rejection> {
        let component = Component::from_binary(&machine.engine, wasm)
            .map_err(|error| Rejection::not_compiled(&error))?;
        let Served { contract, find, .. } = contract::check(&component, machine.served)?;
        let mismatch = |error: wasmtime::Error| Rejection::mismatch(&error);
        let linked = machine
            .linker
            .instantiate_pre(&component)
            .map_err(mismatch)?;
        Ok(Self {
            wasm_digest,
            contract,
            lifecycle: lifecycle::GuestIndices::new(&linked).map_err(mismatch)?,
            load: Arc::new(find(&linked).map_err(mismatch)?),
            linked,
        })
    }
}

fn begin(store: &mut Store<GuestState>, time: CallTime) -> Arc<CpuMeter> {
    store.set_epoch_deadline(1);
    store.data_mut().begin(time)
}

/// Whatever a guest does: ticks end what computes, and this ends what waits.
async fn bounded<T>(
    meter: &CpuMeter,
    time: CallTime,
    work: impl Future<Output = wasmtime::Result<T>>,
    otherwise: FailureKind,
) -> Result<T, CallFailure> {
    let mut work = pin!(meter.measure(work));
    // Nearly always over at once: then it needs no timer.
    let begun = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
    let ended = match begun {
        Poll::Ready(ended) => Ok(ended),
        Poll::Pending => tokio::time::timeout(time.wall + WALL_GRACE, work).await,
    };
    match ended {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(CallFailure::of(&error, otherwise)),
        Err(_) => Err(CallFailure::new(
            FailureKind::Timeout,
            format!("it waited for longer than {} ms", time.wall.as_millis()),
        )),
    }
}

fn refused_config(config_path: &str, faults: &[ConfigFault]) -> Result<(), Rejection> {
    if faults.is_empty() {
        return Ok(());
    }
    let faults = faults.iter().take(FAULTS_MAX).map(|fault| {
        let key = cut(&fault.key, TEXT_BYTES_MAX);
        let reason = cut(&fault.reason, TEXT_BYTES_MAX);
        format!("{config_path}.{key} {reason}")
    });
    Err(Rejection::new(
        REFUSED_CONFIG,
        format!(
            "it refuses its configuration: {}",
            faults.collect::<Vec<_>>().join("; ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use std::{future, time::Duration};

    use super::{CallTime, CpuMeter, FailureKind, bounded};

    #[tokio::test(start_paused = true)]
    async fn what_waits_without_end_is_ended() {
        let waits = future::pending::<wasmtime::Result<()>>();
        let time = CallTime {
            running: Duration::from_millis(500),
            wall: Duration::from_secs(5),
        };
        let failure = bounded(&CpuMeter::default(), time, waits, FailureKind::Start).await;
        assert_eq!(failure.unwrap_err().kind, FailureKind::Timeout);
    }
}
