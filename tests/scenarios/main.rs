//! Whole routers with real servers, clients and databases. One file per subject and one program for all of them: `cargo nextest run -p
//! router-tests access::` runs one subject. Each test has routers, folders, ports and databases of its own, so that any of them can run
//! beside any other; `.config/nextest.toml` says which have the machine to themselves because they measure.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helper: what it cannot do ends the test"
)]

mod access;
mod acknowledge;
mod alert_metrics;
mod alert_rows;
mod alertmanager;
mod alerts;
mod bad_input;
mod breaker_policy;
mod breakers;
mod capacity;
mod channels;
mod chaos;
mod commands;
mod config_faults;
mod conformity;
mod crash_loop;
mod database;
mod definitions;
mod documents;
mod drills;
mod escalation;
mod hanging_tool;
mod harness;
mod held;
mod history;
mod hostile_guests;
mod hostile_rules;
mod hostile_sinks;
mod hot_reload;
mod journal;
mod kills;
mod lifecycle;
mod load_history;
mod messages;
mod metrics;
mod muting;
mod newcomer;
mod page_latency;
mod policies;
mod postgres;
mod runbook_own;
mod runbook_source;
mod sink_trials;
mod sinks;
mod storm;
mod times;
mod windows;
