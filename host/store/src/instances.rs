//! What is kept about instances: definitions registered by API, decisions of operators, restart tallies, crash evidence.

use router_core::InstanceId;
use serde::Serialize;
use serde_json::Value;

/// An instance that was registered by API.
#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    /// Its id.
    pub id: InstanceId,
    /// Its definition as it was sent (template, vars, …), at most 256 KiB as text.
    pub definition: Value,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What an operator wants of an instance, and how its restarts went, to survive the router.
#[derive(Debug, Clone, PartialEq)]
pub struct Intention {
    /// Which instance.
    pub id: InstanceId,
    /// An operator stopped it: only an operator starts it again.
    pub stopped: bool,
    /// The restart tally, in whatever shape it was given.
    pub tally: Option<Value>,
    /// When either was last changed, in milliseconds since 1970.
    pub at_ms: i64,
}

/// Why and how a process of an instance ended. The store adds when, which router and a unique id.
#[derive(Debug, Clone, PartialEq)]
pub struct CrashRecord {
    /// Whose.
    pub id: InstanceId,
    /// Everything known (exit, reason, stderr tail, methods in flight, memory); past 64 KiB as text it is replaced by its
    /// beginning.
    pub evidence: Value,
}

/// Kept crash evidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Crash {
    /// Its number: later ones are larger.
    pub seq: i64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// As it was recorded.
    pub evidence: Value,
    /// Which router saw it.
    pub router_id: String,
}
