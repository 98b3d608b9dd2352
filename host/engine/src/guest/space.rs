//! The space of one store: what its memories and tables may take together, however many it divides that into.

use wasmtime::ResourceLimiter;

use super::Bound;

/// Memories of one store: the component's own, and those of what it may be composed with.
pub(crate) const MEMORIES_MAX: u32 = 4;

/// Tables of one store: its own, its adapter's and the glue between, composed as above.
pub(crate) const TABLES_MAX: u32 = 8;

/// Core instances of one store: an interpreter with its libraries has about twenty.
pub(crate) const INSTANCES_MAX: u32 = 64;

/// Entries of all tables of a store, a pointer each. Large programs in debug builds come to ten thousand.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 20_000;

/// See the module. Nothing is given back before the store ends: WebAssembly has no way to.
pub(crate) struct Space {
    memory_bytes_max: u64,
    memory_bytes: u64,
    table_elements: usize,
}

impl Space {
    pub(crate) fn new(memory_bytes_max: u64) -> Self {
        Self {
            memory_bytes_max,
            memory_bytes: 0,
            table_elements: 0,
        }
    }
}

/// What does not fit is an error, which ends the call: a guest that is refused politely may go on asking.
impl ResourceLimiter for Space {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        self.memory_bytes = self.memory_bytes.saturating_add(more);
        if self.memory_bytes > self.memory_bytes_max {
            return Err(Bound::Memory(self.memory_bytes_max).into());
        }
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error.context("its memory cannot grow"))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        self.table_elements = self.table_elements.saturating_add(more);
        if self.table_elements > TABLE_ELEMENTS_MAX {
            return Err(Bound::Tables(TABLE_ELEMENTS_MAX).into());
        }
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error.context("its table cannot grow"))
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}
