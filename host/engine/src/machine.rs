//! wasmtime as this host wants it, its clock, and the threads of guests: one of low priority, on which policies run and every plugin is
//! loaded, and one on which alert rules run, which must answer when the machine is busy or a policy keeps the other one.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use wasmtime::{
    Cache, CacheConfig, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    component::{HasSelf, Linker},
};

use crate::{
    bindings::{host, types},
    directory::PLUGINS_MAX,
    guest::{GuestState, INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX, read_clock},
    kinds::{Priority, Served, Unit},
    sinks::SINKS_MAX,
};

/// How often a running guest is interrupted: to check its deadline, and to let others run.
const TICK: Duration = Duration::from_millis(10);

/// Stores that may exist at once. A generation has as many as calls of it may be in progress at most: those of the calls, and where
/// there is one less, the one for the next. There are two generations while one replaces the other. One candidate is checked at a
/// time, and one store may be made to measure that.
fn stores_max(served: &[Served]) -> u32 {
    let stores = |unit: Unit, generations_max: usize| {
        let kinds = served.iter().map(|kind| kind.contract);
        let calls_max = kinds.filter(|kind| kind.unit == unit);
        let calls_max = calls_max.map(|kind| kind.budget.calls_max).max();
        2 * generations_max as u32 * calls_max.unwrap_or(0)
    };
    stores(Unit::Plugin, PLUGINS_MAX) + stores(Unit::Sink, SINKS_MAX) + 2
}

/// What the pool lets a memory grow to: as far as 32 bits reach, which costs address space only. The bound that counts is the
/// store's ([`crate::Limits`]), and a reload may change it.
const MEMORY_BYTES_MAX: usize = 4 << 30;

/// Stack of a guest. Its own data stack is 128 KiB (`.cargo/config.toml`); this one is wasmtime's.
const STACK_BYTES: usize = 512 * 1024;

/// Memory of a store that is kept for the next one rather than given back: a small guest then costs no page faults.
const KEEP_MEMORY_BYTES: usize = 2 * 1024 * 1024;
const KEEP_STACK_BYTES: usize = 128 * 1024;
/// The same for each table: giving one back (`madvise`) interrupts every processor that runs a thread of this program.
const KEEP_TABLE_BYTES: usize = 64 * 1024;

/// Below everything else (`nice`): a guest that computes without end must not be felt by requests.
const GUESTS_PRIORITY: i32 = 19;

/// Below the threads that serve requests; a new generation must be ready within a second or two all the same.
const COMPILER_PRIORITY: i32 = 5;

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// wasmtime refused its configuration, or the system refused what it asked for.
    #[error("wasmtime cannot be started: {0}")]
    Wasmtime(String),
    /// A thread or a runtime could not be started.
    #[error("a thread for plugins cannot be started")]
    Thread(#[source] std::io::Error),
}

/// How stores are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stores {
    /// In address space that is reserved at the start, terabytes of it and no memory, for as many as there may be.
    Reserved,
    /// Each for itself, which costs microseconds.
    OneByOne,
}

/// See the module.
pub(crate) struct Machine {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<GuestState>,
    /// The kinds of plugin that it serves.
    pub(crate) served: &'static [Served],
    /// The runtime of the thread of low priority.
    pub(crate) runtime: Handle,
    /// That of the other one.
    normal: Handle,
    /// The runtime on which requests of sinks are sent: nothing of a guest runs there.
    pub(crate) egress: Handle,
    egress_runtime: parking_lot::Mutex<Option<Runtime>>,
    ends: CancellationToken,
    ticks: Arc<AtomicBool>,
    threads: parking_lot::Mutex<Vec<JoinHandle<()>>>,
}

impl Machine {
    pub(crate) fn start(
        cache_dir: Option<&Path>,
        stores: Stores,
        served: &'static [Served],
    ) -> Result<Self, MachineError> {
        let wasm = |error: wasmtime::Error| MachineError::Wasmtime(format!("{error:#}"));
        let cache = cache_dir.and_then(cache);
        let engine = configured(cache.clone(), stores, stores_max(served))
            .or_else(|error| {
                // Where address space is short.
                tracing::info!(error = %format!("{error:#}"), "no address space reserved for plugins");
                configured(cache, Stores::OneByOne, 0)
            })
            .map_err(wasm)?;
        let linker = linker(&engine, served).map_err(wasm)?;
        let ends = CancellationToken::new();
        let thread = |priority| guests(priority, ends.clone()).map_err(MachineError::Thread);
        let (runtime, low_guests) = thread(Priority::Low)?;
        let (normal, normal_guests) = thread(Priority::Normal)?;
        let egress = egress().map_err(MachineError::Thread)?;
        let ticks = Arc::new(AtomicBool::new(true));
        let ticker = ticker(&engine, Arc::clone(&ticks)).map_err(MachineError::Thread)?;
        Ok(Self {
            engine,
            linker,
            served,
            runtime,
            normal,
            egress: egress.handle().clone(),
            egress_runtime: parking_lot::Mutex::new(Some(egress)),
            ends,
            ticks,
            threads: parking_lot::Mutex::new(vec![low_guests, normal_guests, ticker]),
        })
    }

    /// The runtime on which guests of a priority run.
    pub(crate) fn runtime_of(&self, priority: Priority) -> &Handle {
        match priority {
            Priority::Low => &self.runtime,
            Priority::Normal => &self.normal,
        }
    }

    /// Ends the threads. A guest that runs is interrupted at its deadline at the latest.
    pub(crate) fn stop(&self) {
        self.ends.cancel();
        if let Some(egress) = self.egress_runtime.lock().take() {
            egress.shutdown_background();
        }
        let mut threads = std::mem::take(&mut *self.threads.lock());
        let ticker = threads.pop();
        for guests in threads {
            // A panic of that thread was logged by itself.
            let _ = guests.join();
        }
        self.ticks.store(false, Ordering::Relaxed);
        if let Some(ticker) = ticker {
            let _ = ticker.join();
        }
    }
}

fn cache(directory: &Path) -> Option<Cache> {
    use std::os::unix::fs::DirBuilderExt as _;
    // Compiled code is run as it is: nobody else may write here.
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    let mut config = CacheConfig::new();
    config.with_directory(directory);
    let cache = made
        .map_err(wasmtime::Error::from)
        .and_then(|()| Cache::new(config));
    match cache {
        Ok(cache) => Some(cache),
        Err(error) => {
            tracing::warn!(error = %format!("{error:#}"), "compilation cache of plugins cannot be used");
            None
        }
    }
}

fn configured(cache: Option<Cache>, stores: Stores, stores_max: u32) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        // Set here, because a build with another feature of wasmtime would turn it on.
        .concurrency_support(false)
        // Compiling on every core at once would be felt by requests.
        .parallel_compilation(false)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(2 * STACK_BYTES)
        .cache(cache);
    if stores == Stores::Reserved {
        let mut pool = PoolingAllocationConfig::new();
        // As much for each store as it may have at most: none can take what another one needs.
        pool.total_component_instances(stores_max)
            .total_core_instances(stores_max * INSTANCES_MAX)
            .total_memories(stores_max * MEMORIES_MAX)
            .total_tables(stores_max * TABLES_MAX)
            .total_stacks(stores_max)
            .max_core_instances_per_component(INSTANCES_MAX)
            .max_memories_per_component(MEMORIES_MAX)
            .max_tables_per_component(TABLES_MAX)
            .max_memories_per_module(MEMORIES_MAX)
            .max_tables_per_module(TABLES_MAX)
            .max_memory_size(MEMORY_BYTES_MAX)
            .table_elements(TABLE_ELEMENTS_MAX)
            .linear_memory_keep_resident(KEEP_MEMORY_BYTES)
            .table_keep_resident(KEEP_TABLE_BYTES)
            .async_stack_keep_resident(KEEP_STACK_BYTES);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    Engine::new(&config)
}

/// Everything that guests may import: what every kind may, and what single kinds may beside that. Which component may import what is
/// checked before it is linked.
fn linker(engine: &Engine, served: &[Served]) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    types::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    host::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    for kind in served {
        (kind.link)(&mut linker)?;
    }
    Ok(linker)
}

/// A thread on which guests run, and for the one of low priority a second one of its runtime on which they are compiled.
fn guests(
    priority: Priority,
    ends: CancellationToken,
) -> std::io::Result<(Handle, JoinHandle<()>)> {
    let (name, step_back_to) = match priority {
        Priority::Low => ("plugins", Some(GUESTS_PRIORITY)),
        Priority::Normal => ("alert-plugins", None),
    };
    let runtime = Builder::new_current_thread()
        .enable_time()
        // One compilation at a time; the other one reads files.
        .max_blocking_threads(2)
        .thread_name(name)
        .on_thread_start(|| step_back(COMPILER_PRIORITY))
        // What this thread did until now is no call's: see `guest::cpu_meter`.
        .on_thread_park(|| {
            read_clock();
        })
        .build()?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            if let Some(priority) = step_back_to {
                step_back(priority);
            }
            runtime.block_on(ends.cancelled());
            runtime.shutdown_background();
        })?;
    Ok((handle, thread))
}

/// What sends the requests of sinks: one thread for connections and TLS, and more for names, since the system's resolver blocks for
/// as long as it takes, and one that hangs must not hold up another.
fn egress() -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(SINKS_MAX)
        .thread_name("egress")
        .enable_all()
        .build()
}

/// Requests come first. Where the system does not let a thread step back, it stays as it is.
fn step_back(priority: i32) {
    let _ = rustix::process::setpriority_process(None, priority);
}

fn ticker(engine: &Engine, ticks: Arc<AtomicBool>) -> std::io::Result<JoinHandle<()>> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("plugin-ticks".to_owned())
        .spawn(move || {
            while ticks.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                let Some(engine) = engine.upgrade() else {
                    return;
                };
                engine.increment_epoch();
            }
        })
}
