//! The bounds of the proxy, each with the reason for its number.

use std::time::Duration;

/// What the proxy holds at most.
#[derive(Debug, Clone)]
pub struct ProxyLimits {
    /// Longest body of a request. As long as the longest line that an instance may answer with.
    pub body_bytes_max: usize,
    /// Most bytes of long bodies that are being received or wait for an instance to start, over all clients: sixteen of the
    /// longest.
    pub bodies_bytes_max: usize,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
    /// Most messages in one batch (2025-03-26). Each request among them costs what a request of its own does.
    pub batch_messages_max: usize,
    /// Most sessions of one instance that are kept in memory.
    pub sessions_per_instance_max: usize,
    /// A session that did nothing for so long, with no stream open, is forgotten; its id stays valid.
    pub session_idle: Duration,
    /// How long a session id is valid after it was given out.
    pub session_lifetime: Duration,
    /// Most sessions that their clients have ended and that are remembered as ended until their ids expire: 3,000 a day over
    /// a lifetime of 30 days, in some 5 MB. Past it those that expire first are forgotten.
    pub ended_sessions_max: usize,
    /// Most requests that wait for an instance to start.
    pub waiting_max: usize,
    /// Most streams that a session may hold open with GET.
    pub get_streams_max: usize,
    /// Most events, and bytes of events, that are kept for a session's clients to resume from.
    pub kept_events_max: usize,
    /// See [`ProxyLimits::kept_events_max`].
    pub kept_bytes_max: usize,
    /// Most events, and bytes, that wait for a connected reader. One read of an instance's pipe can hold a thousand
    /// small messages, so fewer would fault readers that had no chance yet.
    pub unsent_events_max: usize,
    /// See [`ProxyLimits::unsent_events_max`]. The newest event does not count: it may be as long as a line.
    pub unsent_bytes_max: usize,
    /// Bytes of events that all sessions may hold together before each of them has to do with a small part of its own
    /// allowance. Few sessions ever hold more than a few events; those whose clients vanished hold all they may.
    pub events_bytes_max: usize,
    /// A stream that is silent for so long sends a comment: proxies in between drop silent connections after 30 to 60 s,
    /// and a client that is gone is noticed only by writing to it.
    pub keep_alive: Duration,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 16 * 1024 * 1024,
            bodies_bytes_max: 256 * 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            batch_messages_max: 100,
            sessions_per_instance_max: 10_000,
            session_idle: Duration::from_secs(30 * 60),
            // An editor that stays open over the holidays.
            session_lifetime: Duration::from_secs(30 * 24 * 3600),
            ended_sessions_max: 100_000,
            waiting_max: 1024,
            get_streams_max: 4,
            kept_events_max: 256,
            kept_bytes_max: 1024 * 1024,
            unsent_events_max: 2048,
            unsent_bytes_max: 2 * 1024 * 1024,
            events_bytes_max: 256 * 1024 * 1024,
            keep_alive: Duration::from_secs(15),
        }
    }
}
