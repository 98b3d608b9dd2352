//! The atomics of what threads share. The model check of the cells (`tests/model`) puts a model checker's in their place.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
