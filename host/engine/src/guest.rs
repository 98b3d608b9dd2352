//! What stands behind one store: the guest's bounds for one call, its empty WASI, and the host's functions.

use std::{sync::Arc, time::Instant};

use wasmtime::{
    StoreLimits, StoreLimitsBuilder,
    component::{HasSelf, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::{
    Limits,
    bindings::host::{Host, LogLevel, StoreError, add_to_linker},
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
    /// When the call in progress must be over.
    pub(crate) deadline: Option<Instant>,
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

    /// Whether the call in progress may go on.
    pub(crate) fn check_time(&self) -> Result<(), Bound> {
        let is_over = self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        if !is_over {
            return Ok(());
        }
        let allowed_ms = u64::try_from(self.limits.call_timeout.as_millis()).unwrap_or(u64::MAX);
        Err(Bound::Time(allowed_ms))
    }

    fn called(&mut self) -> wasmtime::Result<()> {
        self.host_calls += 1;
        if self.host_calls > self.limits.host_calls {
            return Err(Bound::HostCalls(self.limits.host_calls).into());
        }
        Ok(())
    }
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
