//! What the proxy reports for the metrics. Called once per request on the hot path: no allocation, no lock held.

use std::time::Duration;

use router_core::ErrorKind;

/// What kind of request it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestClass {
    /// `initialize`, answered by the router.
    Initialize,
    /// `tools/call`.
    ToolCall,
    /// A list of tools, prompts or resources.
    List,
    /// Anything else.
    Other,
}

impl RequestClass {
    /// The class of a method.
    #[must_use]
    pub fn of(method: &str) -> Self {
        match method {
            "initialize" => Self::Initialize,
            "tools/call" => Self::ToolCall,
            "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" => {
                Self::List
            }
            _ => Self::Other,
        }
    }
}

/// One request that ended. Notifications and answers of clients are no requests.
#[derive(Debug, Clone, Copy)]
pub struct FinishedRequest<'a> {
    /// The instance's id; empty where the request named none that exists, so that a scan cannot invent label values.
    pub instance: &'a str,
    /// What kind of request.
    pub class: RequestClass,
    /// The tool that was called, where calls are counted by tool: empty for one that is not counted apart, so that a client cannot
    /// invent names.
    pub tool: Option<&'a str>,
    /// From its arrival to its answer.
    pub elapsed: Duration,
    /// What went wrong, if anything.
    pub error: Option<ErrorKind>,
    /// Whether what went wrong says something about the instance: not for breaker rejections, nor for what was the
    /// client's own fault (a bad argument, an unknown method).
    pub is_instance_fault: bool,
}

/// Events that are only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyCount {
    /// An event for the driver was dropped because its queue was full.
    DriverEventDropped,
    /// A stream was closed because its client did not read.
    SlowStreamClosed,
    /// An event was dropped because its client had not fetched it for too long.
    StreamEventDropped,
    /// A session began.
    SessionOpened,
    /// A session of an earlier router came back.
    SessionRevived,
    /// A session was ended by its client.
    SessionEnded,
    /// A session was forgotten because it was idle.
    SessionForgotten,
    /// A stream was resumed with `Last-Event-ID`.
    StreamResumed,
}

/// Receives what happens.
pub trait ProxyObserver: Send + Sync {
    /// A request ended.
    fn finished(&self, finished: &FinishedRequest<'_>) {
        let _ = finished;
    }

    /// Something happened that is only counted.
    fn count(&self, what: ProxyCount) {
        let _ = what;
    }
}
