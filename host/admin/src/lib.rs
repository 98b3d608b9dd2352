//! What operators reach with `curl`: health, metrics, instances, capacity, plugins, audit, history, and the switches of a running router.
//!
//! It renders and it asks; it decides nothing and keeps nothing. Everything it shows or changes goes through [`Operations`],
//! which the app implements over the driver and the other rooms. Who may call what is decided in front of these routes, which
//! leaves a [`Caller`] in the request for the audit.

mod ack;
mod alerts;
mod audit;
mod capacity;
mod control;
mod events;
mod health;
mod history;
mod hooks;
mod instances;
mod operations;
mod plan;
mod plugins;
mod problem;
mod render;
mod router;

pub use operations::{
    Caller, Definition, OperationError, Operations, ReloadReport, Result, RouterFacts, TestResult,
};
pub use problem::Problem;
pub use router::{BODY_BYTES_MAX, router};
