//! What stands behind one store: the guest's bounds for one call, its empty WASI, and the host's functions.

mod cpu_meter;
mod output;
mod sending;
mod space;
mod wasi;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::{
    Limits,
    bindings::{
        host::{Host, LogLevel, StoreError},
        types,
    },
    texts::cut,
    values::PluginValues,
};
pub(crate) use cpu_meter::{CpuMeter, read_clock};
use output::Output;
pub(crate) use output::{LineRate, excerpt};
pub use sending::ExchangeEnd;
pub(crate) use sending::Sending;
pub(crate) use space::{INSTANCES_MAX, MEMORIES_MAX, Space, TABLE_ELEMENTS_MAX, TABLES_MAX};

/// Most handles that a guest may hold: an empty WASI gives it a handful.
const HANDLES_MAX: usize = 64;

/// Longest line of a log, as `host.log` of `wit/` states it.
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
    /// It logged and printed too much.
    #[error("it logged more than the {0} bytes that a call may log")]
    Log(u64),
    /// It wanted too much memory.
    #[error("it wanted more than the {0} bytes of memory that a call may have")]
    Memory(u64),
    /// It wanted too large tables.
    #[error("it wanted more than the {0} entries of tables that a call may have")]
    Tables(usize),
}

/// How long a call may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallTime {
    /// On the processor.
    pub(crate) running: Duration,
    /// By the clock.
    pub(crate) wall: Duration,
}

/// A store's data.
pub(crate) struct GuestState {
    plugin: Arc<str>,
    limits: Limits,
    pub(crate) space: Space,
    values: Arc<PluginValues>,
    wasi: WasiCtx,
    table: ResourceTable,
    host_calls: u32,
    output: Arc<Output>,
    deadline: Deadline,
    /// Of a sink.
    pub(crate) sending: Option<Sending>,
}

impl GuestState {
    pub(crate) fn new(
        plugin: Arc<str>,
        limits: Limits,
        values: Arc<PluginValues>,
        rate: Arc<LineRate>,
    ) -> Self {
        let output = Output::new(Arc::clone(&plugin), limits.log_bytes, rate);
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        Self {
            plugin,
            space: Space::new(limits.memory_bytes),
            limits,
            values,
            wasi: wasi::context(&output),
            table,
            host_calls: 0,
            output,
            deadline: Deadline::new(CallTime {
                running: Duration::ZERO,
                wall: Duration::ZERO,
            }),
            sending: None,
        }
    }

    /// A call begins, which may take this long. The meter is to measure it.
    pub(crate) fn begin(&mut self, time: CallTime) -> Arc<CpuMeter> {
        self.deadline = Deadline::new(time);
        self.output.begin();
        Arc::clone(&self.deadline.meter)
    }

    /// Whether the call in progress may go on.
    pub(crate) fn check(&self) -> Result<(), Bound> {
        if self.deadline.is_over() {
            let running = self.deadline.time.running;
            let running_ms = u64::try_from(running.as_millis()).unwrap_or(u64::MAX);
            return Err(Bound::Time(running_ms));
        }
        self.count()
    }

    /// The last that the call in progress printed.
    pub(crate) fn printed(&self) -> Option<String> {
        self.output.printed()
    }

    /// Counts a call to the host.
    pub(crate) fn called(&mut self) -> wasmtime::Result<()> {
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

impl Drop for GuestState {
    /// With its store, a guest's last slice is over.
    fn drop(&mut self) {
        self.output.end();
        read_clock();
    }
}

/// When the call in progress must be over.
struct Deadline {
    time: CallTime,
    begun: Instant,
    meter: Arc<CpuMeter>,
}

impl Deadline {
    fn new(time: CallTime) -> Self {
        Self {
            time,
            begun: Instant::now(),
            meter: Arc::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.meter.ran() >= self.time.running || self.begun.elapsed() >= self.time.wall
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Each call of WASI passes here, at least once. It cannot be refused here, but at the next tick.
        self.host_calls = self.host_calls.saturating_add(1);
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl types::Host for GuestState {}

impl Host for GuestState {
    fn log(&mut self, level: LogLevel, message: String) -> wasmtime::Result<()> {
        self.called()?;
        self.output.count(message.len())?;
        let plugin = &*self.plugin;
        let message = cut(&message, LINE_BYTES_MAX);
        match level {
            LogLevel::Error => tracing::error!(plugin, reason = message, "plugin log"),
            LogLevel::Warn => tracing::warn!(plugin, reason = message, "plugin log"),
            LogLevel::Info => tracing::info!(plugin, reason = message, "plugin log"),
            LogLevel::Debug => tracing::debug!(plugin, reason = message, "plugin log"),
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

#[cfg(test)]
mod tests;
