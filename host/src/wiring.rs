//! How the rooms are joined: a file for each of them, with its options from the configuration and the watchers that report
//! from it to the driver. Nothing here decides anything.

pub(crate) mod access;
pub(crate) mod alerts;
pub(crate) mod config;
pub(crate) mod disks;
pub(crate) mod driver;
pub(crate) mod engine;
pub(crate) mod links;
pub(crate) mod load_samples;
pub(crate) mod machine;
pub(crate) mod plugin_check;
pub(crate) mod plugin_events;
pub(crate) mod proxy;
pub(crate) mod store;
pub(crate) mod supervisor;
pub(crate) mod telemetry;
pub(crate) mod tool_profiles;
pub(crate) mod version_heartbeats;
pub(crate) mod watchers;
