//! The store against real databases: one suite on SQLite and Postgres, then what only one of them can do.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "store/place.rs"]
mod place;

#[path = "store/alerts.rs"]
mod alerts;
#[path = "store/facts.rs"]
mod facts;
#[path = "store/files.rs"]
mod files;
#[path = "store/history.rs"]
mod history;
#[path = "store/inspect.rs"]
mod inspect;
#[path = "store/instances.rs"]
mod instances;
#[path = "store/load.rs"]
mod load;
#[path = "store/migration.rs"]
mod migration;
#[path = "store/outage.rs"]
mod outage;
#[path = "store/pool.rs"]
mod pool;
#[path = "store/runbook.rs"]
mod runbook;
#[path = "store/values.rs"]
mod values;
#[path = "store/versions.rs"]
mod versions;
