//! What stands behind one store: the guest's bounds for one call, its empty WASI, and the host's functions.

mod space;
mod turns;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::{
    Limits,
    bindings::host::{Host, LogLevel, StoreError, add_to_linker},
    values::PluginValues,
};
pub(crate) use space::{INSTANCES_MAX, MEMORIES_MAX, Space, TABLE_ELEMENTS_MAX, TABLES_MAX};
pub(crate) use turns::{Turns, look_at_clock};

/// Most handles that a guest may hold: an empty WASI gives it a handful.
const HANDLES_MAX: usize = 64;

/// Most random bytes of one call to WASI: a seed takes 32.
const RANDOM_BYTES_MAX: u64 = 4096;

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
    /// It wanted too much memory.
    #[error("it wanted more than the {0} bytes of memory that a call may have")]
    Memory(u64),
    /// It wanted too large tables.
    #[error("it wanted more than the {0} entries of tables that a call may have")]
    Tables(usize),
}

/// A store's data.
pub(crate) struct Guest {
    plugin: Arc<str>,
    limits: Limits,
    pub(crate) space: Space,
    values: Arc<PluginValues>,
    wasi: WasiCtx,
    table: ResourceTable,
    host_calls: u32,
    log_bytes: u64,
    deadline: Deadline,
}

impl Guest {
    pub(crate) fn new(plugin: Arc<str>, limits: Limits, values: Arc<PluginValues>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        Self {
            plugin,
            space: Space::new(limits.memory_bytes),
            limits,
            values,
            // Nothing: no files, no network, no environment, no arguments.
            wasi: WasiCtx::builder()
                .allow_tcp(false)
                .allow_udp(false)
                .max_random_size(RANDOM_BYTES_MAX)
                .build(),
            table,
            host_calls: 0,
            log_bytes: 0,
            deadline: Deadline::new(Duration::ZERO),
        }
    }

    /// A call begins, and must be over within this. Its turns are what the deadline is held against.
    pub(crate) fn begin(&mut self, within: Duration) -> Arc<Turns> {
        self.deadline = Deadline::new(within);
        Arc::clone(&self.deadline.turns)
    }

    /// Whether the call in progress may go on.
    pub(crate) fn check(&self) -> Result<(), Bound> {
        if self.deadline.is_over() {
            let within_ms = u64::try_from(self.deadline.within.as_millis()).unwrap_or(u64::MAX);
            return Err(Bound::Time(within_ms));
        }
        self.count()
    }

    fn called(&mut self) -> wasmtime::Result<()> {
        self.host_calls = self.host_calls.saturating_add(1);
        Ok(self.count()?)
    }

    fn count(&self) -> Result<(), Bound> {
        if self.host_calls > self.limits.host_calls {
            return Err(Bound::HostCalls(self.limits.host_calls));
        }
        Ok(())
    }
}

impl Drop for Guest {
    /// With its store, a guest's last turn is over.
    fn drop(&mut self) {
        look_at_clock();
    }
}

/// On a machine that is busy with requests a guest waits for its turn. So its time is the time that it ran, and a multiple of
/// that by the clock.
struct Deadline {
    within: Duration,
    begun: Instant,
    turns: Arc<Turns>,
}

/// How much longer than it may run a call may take by the clock.
pub(crate) const WAITING_FACTOR: u32 = 10;

impl Deadline {
    fn new(within: Duration) -> Self {
        Self {
            within,
            begun: Instant::now(),
            turns: Arc::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.turns.ran() >= self.within || self.begun.elapsed() >= self.within * WAITING_FACTOR
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Each call of WASI passes here, at least once. It cannot be refused here, but at the next tick.
        self.host_calls = self.host_calls.saturating_add(1);
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

#[cfg(test)]
mod tests;
