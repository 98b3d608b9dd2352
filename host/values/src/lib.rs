//! Values that several crates of the router share: each is parsed once, here, into a type that cannot hold an invalid one.
//!
//! Nothing here knows an instance, a request or a configuration key, so that every other crate, the shim included, may depend
//! on it. Messages say what is wrong with a text; where it stood and what to write instead is for the caller to add.

mod alert_rows;
mod audit;
mod authority;
mod calendar;
mod clock;
mod database_url;
pub mod durable;
mod duration;
mod history;
mod launch;
mod log_filter;
mod origin;
mod printable;
mod proxy;
mod rate;
mod secret;
pub mod segment;
mod session_key;
mod token_hash;

pub use alert_rows::{AlertPage, AlertQuery, AlertRow, DeliveryRecord, RowVersion};
pub use audit::{AuditQuery, AuditRow};
pub use authority::{Authority, Host, InvalidAuthority, is_reachable};
pub use calendar::{Day, parse_rfc3339_ms, rfc3339, rfc3339_unix_ms, unix_ms, write_rfc3339};
pub use clock::{unix_ms_now, whole_ms};
pub use database_url::{DatabaseKind, DatabaseUrl, InvalidDatabaseUrl};
pub use duration::{DURATION_REMEDY, parse_duration, show_duration};
pub use history::{EventPosition, HistoryQuery, HistoryRow, InvalidEventPosition};
pub use launch::{OnRouterExit, Transport};
pub use log_filter::{FilterLevel, InvalidLogFilter, LogFilter, LogFormat};
pub use origin::{InvalidOrigin, Origin};
pub use printable::printable;
pub use proxy::{InvalidProxy, Proxy};
pub use rate::RateBudget;
pub use secret::Secret;
pub use session_key::{InvalidSessionKey, SessionKey};
pub use token_hash::{InvalidTokenHash, TokenHash};

/// A text as it may stand in a message: quoted and cut.
#[must_use]
pub fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    let mut cut: String = text.chars().take(SHOWN_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}
