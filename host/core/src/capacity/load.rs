//! What a capacity policy reckons with.

use std::sync::Arc;

use super::{LoadHistory, Usage};

/// The fleet at one moment, and what was before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CapacityLoad {
    /// Now, in milliseconds since 1970.
    pub now_ms: u64,
    /// All instances.
    pub instances: u32,
    /// What is in use.
    pub usage: Usage,
    /// Memory of the machine, or of the cgroup where that has less, in bytes.
    pub memory_total_bytes: u64,
    /// What of it is free to be used, in bytes.
    pub memory_free_bytes: u64,
    /// Processors of the machine.
    pub processors: u32,
    /// Every template that is configured, by name.
    pub templates: Vec<TemplateLoad>,
    /// What was before.
    pub history: Arc<LoadHistory>,
    /// Room to grow without breaking compiled guests.
    pub attributes: Vec<(String, String)>,
}

/// The instances of one template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateLoad {
    /// The template's name.
    pub name: Arc<str>,
    /// Its instances.
    pub instances: u32,
    /// Those that run.
    pub running: u32,
}

/// What the core cannot see of the load by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadMeasure {
    /// When it was measured, in milliseconds since 1970.
    pub unix_ms: u64,
    /// See [`CapacityLoad::memory_total_bytes`].
    pub memory_total_bytes: u64,
    /// See [`CapacityLoad::memory_free_bytes`].
    pub memory_free_bytes: u64,
    /// See [`CapacityLoad::processors`].
    pub processors: u32,
    /// What was before.
    pub history: Arc<LoadHistory>,
}
