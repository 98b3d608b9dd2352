//! What alerts need to arrive: the journal in the data directory, in which everything stands before it is sent, and the courier,
//! which sends it. Neither ever waits for a database.
//!
//! What is sent when is decided in `router-alerts`; how one message is delivered is the [`Sink`]'s.

mod courier;
mod journal;

pub use courier::{Courier, CourierSettings, Sink, StepOutcome};
pub use journal::{AlertJournal, JournalContents, JournalRow, JournalState, NotDurable};
