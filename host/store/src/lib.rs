//! What the router keeps: the audit, the history of what happened, alerts and their deliveries, instances registered by API, what operators decided, crash evidence, the history of load
//! and the values of plugins, in SQLite or Postgres, both through one set of statements.
//!
//! The database may be away at any moment. Then reads answer [`StoreError::Disconnected`] at once, facts (audit rows,
//! crash evidence, decisions of operators) wait in an fsynced spool in the data directory, and nobody waits for longer
//! than a stated deadline. No request to an instance ever waits for this room.
//!
//! It must not: run DDL on Postgres while serving, delete from `godot_versions`, or let a secret into an error or a log.

mod alerts;
mod audit;
mod counted;
mod database;
mod drain;
mod error;
mod facts;
mod history;
mod inspect;
mod instances;
mod keeper;
mod link;
mod load;
mod migrate;
mod options;
mod pools;
mod spool;
mod sql;
mod state;
mod statements;
mod store;
mod target;
mod values;
mod versions;
mod versions_table;

pub use error::StoreError;
pub use inspect::{Inspection, Schema, inspect};
pub use instances::{Crash, CrashEvidence, Intention, Registered};
pub use migrate::{MigrateOptions, MigrationReport, SCHEMA_VERSION, serving_grants};
pub use options::StoreOptions;
pub use state::{DatabaseState, PoolFigures, StoreCounters};
pub use store::Store;
pub use values::{KEY_BYTES_MAX, KEYS_PER_PLUGIN_MAX, PLUGIN_BYTES_MAX, VALUE_BYTES_MAX};
pub use versions::VersionHeartbeat;

pub use migrate::migrate;
