//! Alerts, decided without I/O: no runtime, no clock, no randomness, no files. What deserves an alert is what rules answer; this
//! crate says what becomes of it, whom it is delivered to, and when.
//!
//! Shared with the rooms around it: [`facts`] is what a rule is asked about, [`condition`] what it answers, [`notice`] what a sink
//! is asked to deliver, [`delivery`] what goes from decision to delivery and back.

pub mod condition;
pub mod delivery;
pub mod facts;
pub mod identity;
pub mod notice;

pub use condition::{Condition, Severity};
pub use identity::{AlertId, AlertRef, DeliveryId};
