//! Alerts in the running router: what rules are asked, the loop that decides, and the sinks that deliver.

pub(crate) mod facts;
mod figures;
pub(crate) mod handle;
pub(crate) mod heartbeat;
mod kept;
pub(crate) mod open;
pub(crate) mod published;
pub(crate) mod room;
pub(crate) mod rules;
pub(crate) mod sinks;
mod trial;
