//! What the router shows of itself: metrics, figures over the last five minutes, and log lines.
//!
//! [`Metrics`] is written to on the hot path (atomics only, nothing allocated) and read when somebody scrapes or asks. [`logs`]
//! writes each line to standard output and to a file, on threads of its own, so that neither a full disk nor a stuck terminal
//! ever holds up the router. This room judges nothing: what a figure means is for the core and the policies.

mod alerts;
mod count;
mod exposition;
mod families;
mod figures;
mod histogram;
pub mod logs;
mod meter;
mod meters;
mod metrics;
mod process;
mod tools;
mod window;

pub use alerts::{
    AlertFigures, AlertMeters, AttemptResult, DeliveryOutcome, JournalFigures, SinkFigures,
};
pub use count::Count;
pub use figures::{DatabaseFigures, PluginFigures, SpoolFigures};
pub use logs::{LogControl, LogError, LogGuard, LogOptions};
pub use meter::{InstanceMeter, Outcome};
pub use metrics::Metrics;
pub use tools::ToolFigures;
pub use window::{Figures, REQUESTS_MIN, WINDOW_MS};
