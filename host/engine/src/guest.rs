//! What stands behind one store: the guest's bounds for one call, its empty WASI, and the host's functions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use wasmtime::{
    StoreLimits, StoreLimitsBuilder,
    component::{HasSelf, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::{
    Limits,
    bindings::host::{Host, LogLevel, StoreError, add_to_linker},
    machine::TICK,
    values::PluginValues,
};

/// Most handles that a guest may hold: an empty WASI gives it a handful.
const HANDLES_MAX: usize = 64;

/// Tables and instances of one component: its own, its adapter's and the glue between.
const TABLES_MAX: usize = 32;
const INSTANCES_MAX: usize = 64;

/// Longest line of a log, as `wit/host.wit` states it.
const LINE_BYTES_MAX: usize = 4096;

/// A bound that a guest ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Bound {
    /// Its time is up.
    #[error("it took longer than the {0} ms that a call may take")]
    Time(u64),
    /// It called the host too often.
    #[error("it made more than the {0} calls to the host that a call may make")]
    HostCalls(u32),
    /// It logged too much.
    #[error("it logged more than the {0} bytes that a call may log")]
    Log(u64),
}

/// A store's data.
pub(crate) struct Guest {
    plugin: Arc<str>,
    limits: Limits,
    pub(crate) store_limits: StoreLimits,
    values: Arc<PluginValues>,
    wasi: WasiCtx,
    table: ResourceTable,
    host_calls: u32,
    log_bytes: u64,
    /// Until when the call in progress may run.
    deadline: Option<Deadline>,
}

impl Guest {
    pub(crate) fn new(plugin: Arc<str>, limits: Limits, values: Arc<PluginValues>) -> Self {
        let memory = usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX);
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        Self {
            plugin,
            store_limits: StoreLimitsBuilder::new()
                .memory_size(memory)
                .memories(TABLES_MAX)
                .tables(TABLES_MAX)
                .instances(INSTANCES_MAX)
                // A guest that asks for more is broken; one that is refused politely may go on asking.
                .trap_on_grow_failure(true)
                .build(),
            limits,
            values,
            // Nothing: no files, no network, no environment, no arguments.
            wasi: WasiCtx::builder().build(),
            table,
            host_calls: 0,
            log_bytes: 0,
            deadline: None,
        }
    }

    /// A call begins, and must be over within this.
    pub(crate) fn begin(&mut self, within: Duration) {
        self.deadline = Some(Deadline {
            within,
            begun: Instant::now(),
            ran_before: None,
        });
    }

    /// Whether the call in progress may go on.
    pub(crate) fn check_time(&mut self) -> Result<(), Bound> {
        let Some(deadline) = &mut self.deadline else {
            return Ok(());
        };
        if deadline.is_over() {
            let within_ms = u64::try_from(deadline.within.as_millis()).unwrap_or(u64::MAX);
            return Err(Bound::Time(within_ms));
        }
        Ok(())
    }

    fn called(&mut self) -> wasmtime::Result<()> {
        self.host_calls += 1;
        if self.host_calls > self.limits.host_calls {
            return Err(Bound::HostCalls(self.limits.host_calls).into());
        }
        Ok(())
    }
}

/// On a machine that is busy with requests a guest waits for its turn. So its time is the time that its thread ran, and a
/// multiple of it by the clock.
struct Deadline {
    within: Duration,
    begun: Instant,
    /// How long the thread had run when this was first looked at, a tick after the call began.
    ran_before: Option<Duration>,
}

/// How much longer than it may run a call may take by the clock.
pub(crate) const WAITING_FACTOR: u32 = 10;

impl Deadline {
    fn is_over(&mut self) -> bool {
        let elapsed = self.begun.elapsed();
        if elapsed >= self.within * WAITING_FACTOR {
            return true;
        }
        match ran() {
            // The tick before this one is in neither figure.
            Some(now) => {
                now.saturating_sub(*self.ran_before.get_or_insert(now)) + TICK >= self.within
            }
            None => elapsed >= self.within,
        }
    }
}

/// How long this thread has run so far (proc(5), `schedstat`).
fn ran() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let ran_ns = stat.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(ran_ns))
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl crate::bindings::types::Host for Guest {}

impl Host for Guest {
    fn log(&mut self, level: LogLevel, message: String) -> wasmtime::Result<()> {
        self.called()?;
        self.log_bytes += message.len() as u64;
        if self.log_bytes > self.limits.log_bytes {
            return Err(Bound::Log(self.limits.log_bytes).into());
        }
        let plugin = &*self.plugin;
        let message = cut(&message, LINE_BYTES_MAX);
        match level {
            LogLevel::Error => tracing::error!(plugin, reason = message, "a plugin says"),
            LogLevel::Warn => tracing::warn!(plugin, reason = message, "a plugin says"),
            LogLevel::Info => tracing::info!(plugin, reason = message, "a plugin says"),
            LogLevel::Debug => tracing::debug!(plugin, reason = message, "a plugin says"),
        }
        Ok(())
    }

    fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        self.called()?;
        Ok(self.values.get(&key))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), StoreError>> {
        self.called()?;
        Ok(self.values.set(key, value, self.limits.store_bytes))
    }

    fn delete(&mut self, key: String) -> wasmtime::Result<()> {
        self.called()?;
        self.values.delete(&key);
        Ok(())
    }
}

/// Everything that a guest of the served world may import.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    crate::bindings::types::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest)?;
    add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

/// The first bytes of a text, at a character's end.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
