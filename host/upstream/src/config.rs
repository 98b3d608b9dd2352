//! What one connection is opened with: whose it is, its bounds and its waits.

use std::time::Duration;

use router_core::{InstanceId, Run};

/// How one slot is spoken to.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// Whose slot.
    pub instance: InstanceId,
    /// Which start of it.
    pub run: Run,
    /// What the ids start with under which clients see the instance's questions. It must differ between two routers that speak to the
    /// same process (the router's epoch makes it so): a client may still answer what an earlier one asked. Letters, digits and `-`.
    pub question_prefix: String,
    /// The bounds.
    pub limits: UpstreamLimits,
    /// How long a client's request may take (`REQUEST_TIMEOUT`). [`crate::Upstream::set_request_timeout`] changes it.
    pub request_timeout: Duration,
    /// How long a list may be served from memory (`CACHE_TTL`); zero for never.
    pub cache_ttl: Duration,
}

impl UpstreamConfig {
    /// The configuration with every bound at its default.
    #[must_use]
    pub fn new(instance: InstanceId, run: Run, question_prefix: impl Into<String>) -> Self {
        Self {
            instance,
            run,
            question_prefix: question_prefix.into(),
            limits: UpstreamLimits::default(),
            request_timeout: Duration::from_secs(300),
            cache_ttl: Duration::ZERO,
        }
    }
}

/// The bounds of one connection.
#[derive(Debug, Clone)]
pub struct UpstreamLimits {
    /// Longest line that an instance may send. A screenshot as base64 takes a few MB.
    pub line_bytes_max: usize,
    /// Most bytes that may wait for an instance that does not read.
    pub queue_bytes_max: usize,
    /// Most requests of all sessions that may wait for an answer.
    pub in_flight_max: usize,
    /// Most requests of one session that may wait for an answer.
    pub in_flight_per_session_max: usize,
    /// Most sessions on one slot.
    pub sessions_max: usize,
    /// Most resources that one session may subscribe to.
    pub subscriptions_per_session_max: usize,
    /// Most questions of the instance (sampling, elicitation, roots) that may wait for a client.
    pub questions_max: usize,
    /// How long a request that its client cancelled may still be answered.
    pub cancel_grace: Duration,
    /// After how long [`crate::ReplySink::waiting`] is called for a waiting request.
    pub waiting_after: Duration,
    /// Most pages of `tools/list` that are read, and most tools in all.
    pub tool_pages_max: usize,
    /// Most tools that are remembered.
    pub tools_max: usize,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            line_bytes_max: 16 * 1024 * 1024,
            // Two of the longest requests: the one being written and one behind it.
            queue_bytes_max: 32 * 1024 * 1024,
            in_flight_max: 4096,
            in_flight_per_session_max: 256,
            sessions_max: 10_000,
            subscriptions_per_session_max: 1000,
            questions_max: 1024,
            // Servers that answer a cancelled request at all do so at once.
            cancel_grace: Duration::from_secs(5),
            // Well below the 30 to 60 s after which common proxies drop a silent answer.
            waiting_after: Duration::from_secs(15),
            tool_pages_max: 100,
            tools_max: 10_000,
        }
    }
}
