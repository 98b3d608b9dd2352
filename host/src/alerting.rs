//! Alerts in the running router: what rules are asked, the loop that decides, and the sinks that deliver.

#[cfg(test)]
mod bench;
pub(crate) mod facts;
mod figures;
pub(crate) mod handle;
pub(crate) mod heartbeat;
mod kept;
pub(crate) mod open;
mod outbox;
mod projection;
pub(crate) mod published;
pub(crate) mod room;
mod rows;
pub(crate) mod rules;
pub(crate) mod sinks;
mod trial;
mod writer;
