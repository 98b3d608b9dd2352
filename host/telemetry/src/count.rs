//! What is only counted, each a series that is there from the start.

/// Something that happened. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Count {
    /// A session began.
    SessionOpened,
    /// A session of an earlier router came back.
    SessionRevived,
    /// A session was ended by its client.
    SessionEnded,
    /// A session was forgotten because it was idle.
    SessionForgotten,
    /// An event stream was resumed where it had broken off.
    StreamResumed,
    /// An event stream was closed because its client did not read.
    SlowStreamClosed,
    /// An event of a stream that nobody fetched in time was dropped.
    StreamEventDropped,
    /// An event for the driver was dropped because its queue was full.
    DriverEventDropped,
    /// An instance's reply that nobody waits for was dropped.
    LateReplyDropped,
    /// A request was refused: no token, a wrong one, or one without the role.
    RequestRefused,
    /// A changed configuration was applied.
    ConfigReloaded,
    /// A changed configuration was refused.
    ConfigRefused,
    /// The outbound heartbeat was delivered.
    HeartbeatDelivered,
    /// The outbound heartbeat could not be delivered.
    HeartbeatFailed,
    /// The outbound heartbeat was withheld, because the auditor of alerts found something.
    HeartbeatWithheld,
}

/// The family that a count belongs to, and its label there.
pub(crate) struct Series {
    pub(crate) family: &'static str,
    pub(crate) help: &'static str,
    pub(crate) label: (&'static str, &'static str),
}

impl Count {
    /// Everything that is counted, those of one family together.
    pub const ALL: [Self; 15] = [
        Self::SessionOpened,
        Self::SessionRevived,
        Self::SessionEnded,
        Self::SessionForgotten,
        Self::StreamResumed,
        Self::SlowStreamClosed,
        Self::StreamEventDropped,
        Self::DriverEventDropped,
        Self::LateReplyDropped,
        Self::RequestRefused,
        Self::ConfigReloaded,
        Self::ConfigRefused,
        Self::HeartbeatDelivered,
        Self::HeartbeatFailed,
        Self::HeartbeatWithheld,
    ];

    pub(crate) fn series(self) -> Series {
        let (family, label) = match self {
            Self::SessionOpened => (SESSIONS, ("event", "opened")),
            Self::SessionRevived => (SESSIONS, ("event", "revived")),
            Self::SessionEnded => (SESSIONS, ("event", "ended")),
            Self::SessionForgotten => (SESSIONS, ("event", "forgotten")),
            Self::StreamResumed => (STREAMS, ("event", "resumed")),
            Self::SlowStreamClosed => (STREAMS, ("event", "closed_slow")),
            Self::StreamEventDropped => (DROPPED, ("what", "stream_event")),
            Self::DriverEventDropped => (DROPPED, ("what", "driver_event")),
            Self::LateReplyDropped => (DROPPED, ("what", "late_reply")),
            Self::RequestRefused => (REFUSED, ("reason", "access")),
            Self::ConfigReloaded => (CONFIG, ("result", "applied")),
            Self::ConfigRefused => (CONFIG, ("result", "refused")),
            Self::HeartbeatDelivered => (HEARTBEATS, ("result", "delivered")),
            Self::HeartbeatFailed => (HEARTBEATS, ("result", "failed")),
            Self::HeartbeatWithheld => (HEARTBEATS, ("result", "withheld")),
        };
        Series {
            family: family.0,
            help: family.1,
            label,
        }
    }
}

type Family = (&'static str, &'static str);
const SESSIONS: Family = (
    "mcp_session_events_total",
    "Client sessions: what happened to them.",
);
const STREAMS: Family = (
    "mcp_stream_events_total",
    "Event streams to clients: what happened to them.",
);
const DROPPED: Family = (
    "mcp_dropped_total",
    "What was dropped because a bounded queue was full or nobody waited.",
);
const REFUSED: Family = (
    "mcp_refused_requests_total",
    "Requests refused before they were served.",
);
const HEARTBEATS: Family = (
    "mcp_alert_heartbeats_total",
    "Outbound heartbeats of the alerts, by what became of them.",
);
const CONFIG: Family = (
    "mcp_config_reloads_total",
    "Changed configurations, by what became of them.",
);
