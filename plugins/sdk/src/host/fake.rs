//! A host for native tests, with the router's bounds: what the router would end a call for ends the test, with the same words.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    marker::PhantomData,
};

use super::{LogLevel, StoreError};

/// As in the router's engine, which compares the two in a test of its own.
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 64 * 1024;
const KEYS_MAX: usize = 1_000;
const LINE_BYTES_MAX: usize = 4096;
const CROSSING_BYTES_MAX: usize = 1024 * 1024;

/// Lines that are kept for the test, the newest; a test that reads more wants another way to look.
const LINES_MAX: usize = 10_000;

/// What calls of the plugin may take; an operator sets them in `[plugins.limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Calls to the host within one call (`max_host_calls`). The router counts those of WASI too.
    pub host_calls: u32,
    /// Bytes that one call may log (`max_log_kb`).
    pub log_bytes: u64,
    /// Bytes that the plugin may keep, keys included (`max_store_kb`).
    pub store_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            host_calls: 1_000,
            log_bytes: 64 * 1024,
            store_bytes: 4 * 1024 * 1024,
        }
    }
}

/// A line that the plugin logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: LogLevel,
    /// Its text, cut as the router cuts it.
    pub message: String,
}

/// The host of this thread, from its making on: nothing is kept and nothing logged. Tests that run at once, each on a thread of its
/// own, do not see each other's. A thread has one also without this, which only a test that wants to see something needs.
///
/// Past a bound that ends a call in the router the function that was called panics, with the words that an operator would read.
#[derive(Debug)]
pub struct FakeHost {
    /// It belongs to its thread.
    _thread: PhantomData<*const ()>,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeHost {
    /// A new host with the bounds that the router has by default.
    #[must_use]
    pub fn new() -> Self {
        Self::with_bounds(Bounds::default())
    }

    /// A new host with other bounds.
    #[must_use]
    pub fn with_bounds(bounds: Bounds) -> Self {
        HOST.replace(Host {
            bounds,
            ..Host::default()
        });
        Self {
            _thread: PhantomData,
        }
    }

    /// One call of the plugin: what it may take is counted from here on, whatever was called before.
    pub fn call<T>(&self, call: impl FnOnce() -> T) -> T {
        HOST.with_borrow_mut(|host| {
            host.calls = 0;
            host.log_bytes = 0;
        });
        call()
    }

    /// Keeps a value as if the plugin had kept it earlier.
    ///
    /// # Errors
    /// The router would not keep it.
    pub fn keep(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        HOST.with_borrow_mut(|host| host.set(key, value))
    }

    /// The value that is kept under a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        HOST.with_borrow(|host| host.values.get(key).cloned())
    }

    /// Every key under which a value is kept.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        HOST.with_borrow(|host| host.values.keys().cloned().collect())
    }

    /// The lines that were logged, the newest last; at most 10,000.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        HOST.with_borrow(|host| host.lines.iter().cloned().collect())
    }
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

/// What the functions of the module above come to.
pub(super) mod functions {
    use super::{HOST, LogLevel, StoreError};

    pub(in super::super) fn log(level: LogLevel, message: &str) {
        HOST.with_borrow_mut(|host| {
            host.called(message.len());
            host.log(level, message);
        });
    }

    pub(in super::super) fn get(key: &str) -> Option<Vec<u8>> {
        HOST.with_borrow_mut(|host| {
            host.called(key.len());
            host.values.get(key).cloned()
        })
    }

    pub(in super::super) fn set(key: &str, value: &[u8]) -> Result<(), StoreError> {
        HOST.with_borrow_mut(|host| {
            host.called(key.len() + value.len());
            host.set(key, value)
        })
    }

    pub(in super::super) fn delete(key: &str) {
        HOST.with_borrow_mut(|host| {
            host.called(key.len());
            host.values.remove(key);
        });
    }
}

#[derive(Default)]
struct Host {
    bounds: Bounds,
    values: BTreeMap<String, Vec<u8>>,
    lines: VecDeque<Line>,
    /// Of the call in progress.
    calls: u32,
    log_bytes: u64,
}

impl Host {
    /// Counts a call to the host, with so many bytes.
    fn called(&mut self, bytes: usize) {
        self.calls += 1;
        let calls_max = self.bounds.host_calls;
        if self.calls > calls_max {
            ends(&format!(
                "it made more than the {calls_max} calls to the host that a call may make (if these were several calls of the \
                 plugin, make each with FakeHost::call)"
            ));
        }
        if bytes > CROSSING_BYTES_MAX {
            ends(&format!(
                "it handed the host {bytes} bytes at once, and {CROSSING_BYTES_MAX} may cross"
            ));
        }
    }

    fn log(&mut self, level: LogLevel, message: &str) {
        self.log_bytes += message.len() as u64;
        let bytes_max = self.bounds.log_bytes;
        if self.log_bytes > bytes_max {
            ends(&format!(
                "it logged more than the {bytes_max} bytes that a call may log"
            ));
        }
        let mut end = message.len().min(LINE_BYTES_MAX);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(Line {
            level,
            message: message[..end].to_owned(),
        });
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        if !(1..=KEY_BYTES_MAX).contains(&key.len()) || key.contains('\0') {
            return Err(StoreError::BadKey);
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(StoreError::Full);
        }
        let size = |key: &str, value: &[u8]| (key.len() + value.len()) as u64;
        let before: u64 = self
            .values
            .iter()
            .map(|(key, value)| size(key, value))
            .sum();
        let old = self.values.get(key);
        let after = before - old.map_or(0, |old| size(key, old)) + size(key, value);
        let is_too_much = after > self.bounds.store_bytes && after > before;
        if is_too_much || (old.is_none() && self.values.len() >= KEYS_MAX) {
            return Err(StoreError::Full);
        }
        self.values.insert(key.to_owned(), value.to_owned());
        Ok(())
    }
}

#[allow(
    clippy::panic,
    reason = "it ends the call, as the router does, and with it the test"
)]
fn ends(why: &str) -> ! {
    panic!("the router would end this call: {why}")
}

#[cfg(test)]
mod tests;
