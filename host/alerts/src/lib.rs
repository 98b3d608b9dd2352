//! Alerts, decided without I/O: no runtime, no clock, no randomness, no files. What deserves an alert is what rules answer; this
//! crate says what becomes of it, whom it is delivered to, and when.
//!
//! [`AlertEngine`] is the one entrance: `step(now, event)` appends actions. What it kept of earlier lives comes to it in
//! [`event::AlertEvent::JournalRead`], and what is to be kept of a step is the one record in front of its actions.
//!
//! Shared with the rooms around it: [`facts`] is what a rule is asked about, [`condition`] what it answers, [`notice`] what a sink
//! is asked to deliver, [`delivery`] what goes from decision to delivery and back.

pub mod alert;
pub mod condition;
pub mod delivery;
pub mod engine;
pub mod event;
pub mod facts;
pub mod history;
pub mod identity;
pub mod link;
pub mod matcher;
pub mod notice;
mod planted;
pub mod record;
pub mod settings;
pub mod silence;
#[cfg(test)]
mod simulation;
pub mod window;

pub use alert::{Alert, AlertState};
pub use condition::{Condition, Severity};
pub use engine::AlertEngine;
pub use identity::{AlertId, AlertRef, DeliveryId};
