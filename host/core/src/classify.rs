//! What the end of a request means for the instance's breaker: a table, applied by the proxy, replaceable by a policy.
//!
//! The rule behind the default: a breaker protects callers from an instance that does not answer. What answers, be it with
//! an error about the caller's request, is there; a client that goes away says nothing.

use crate::permit::Class;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutcomeKind {
    /// A result.
    Answered,
    /// A tool's result with `isError`.
    ToolError,
    /// A JSON-RPC error with this code.
    RpcError(i64),
    /// No answer within the time allowed.
    Timeout,
    /// The connection to the instance failed.
    Socket,
    /// The process died with the request in flight.
    UpstreamDied,
    /// An answer that is no JSON-RPC, or longer than allowed.
    BadAnswer,
    /// The client cancelled or went away.
    Cancelled,
}

/// Codes by which an instance says something about the request, not about itself: JSON-RPC's parse error, invalid request,
/// method not found and invalid params, and MCP's resource not found.
pub const CALLER_FAULT_CODES: [i64; 5] = [-32700, -32600, -32601, -32602, -32002];

/// The kinds as a rule names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KindPattern {
    /// See [`OutcomeKind::Answered`].
    Answered,
    /// See [`OutcomeKind::ToolError`].
    ToolError,
    /// A JSON-RPC error with this code, or with any.
    RpcError(Option<i64>),
    /// See [`OutcomeKind::Timeout`].
    Timeout,
    /// See [`OutcomeKind::Socket`].
    Socket,
    /// See [`OutcomeKind::UpstreamDied`].
    UpstreamDied,
    /// See [`OutcomeKind::BadAnswer`].
    BadAnswer,
    /// See [`OutcomeKind::Cancelled`].
    Cancelled,
}

impl KindPattern {
    /// The name shown in JSON, as `wit/` has it. A code stands beside it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ToolError => "tool-error",
            Self::RpcError(_) => "error-code",
            Self::Timeout => "timed-out",
            Self::Socket => "disconnected",
            Self::UpstreamDied => "died",
            Self::BadAnswer => "bad-answer",
            Self::Cancelled => "cancelled",
        }
    }

    /// The code that an error must have.
    #[must_use]
    pub fn code(self) -> Option<i64> {
        match self {
            Self::RpcError(code) => code,
            _ => None,
        }
    }

    fn matches(self, kind: OutcomeKind) -> bool {
        match (self, kind) {
            (Self::RpcError(wanted), OutcomeKind::RpcError(code)) => {
                wanted.is_none_or(|wanted| wanted == code)
            }
            (Self::Answered, OutcomeKind::Answered)
            | (Self::ToolError, OutcomeKind::ToolError)
            | (Self::Timeout, OutcomeKind::Timeout)
            | (Self::Socket, OutcomeKind::Socket)
            | (Self::UpstreamDied, OutcomeKind::UpstreamDied)
            | (Self::BadAnswer, OutcomeKind::BadAnswer)
            | (Self::Cancelled, OutcomeKind::Cancelled) => true,
            _ => false,
        }
    }
}

/// The table. The first rule that matches decides; where none does, the default above does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClassTable {
    rules: Vec<(KindPattern, Class)>,
    slow_ms: Option<u64>,
}

impl ClassTable {
    /// A table with rules in front of the defaults. An answer that took longer than `slow_ms` is [`Class::Slow`]; `None`: none
    /// is, since a tool call may rightly take minutes.
    #[must_use]
    pub fn new(rules: Vec<(KindPattern, Class)>, slow_ms: Option<u64>) -> Self {
        Self { rules, slow_ms }
    }

    /// The rules in front of the defaults, in their order.
    #[must_use]
    pub fn rules(&self) -> &[(KindPattern, Class)] {
        &self.rules
    }

    /// From which duration an answer is slow.
    #[must_use]
    pub fn slow_ms(&self) -> Option<u64> {
        self.slow_ms
    }

    /// This one's rules before those of `other`, and its slowness where it says any.
    #[must_use]
    pub fn before(&self, other: &Self) -> Self {
        let rules = self.rules.iter().chain(&other.rules).copied().collect();
        Self::new(rules, self.slow_ms.or(other.slow_ms))
    }

    /// What the end of a request means.
    #[must_use]
    pub fn classify(&self, kind: OutcomeKind, elapsed_ms: u64) -> Class {
        let ruled = self.rules.iter().find(|(pattern, _)| pattern.matches(kind));
        let class = ruled.map_or_else(|| default_class(kind), |(_, class)| *class);
        let slow = self.slow_ms.is_some_and(|limit_ms| elapsed_ms > limit_ms);
        if class == Class::Success && slow {
            Class::Slow
        } else {
            class
        }
    }
}

/// What the end of a call means for its instance, where the tool has a breaker of its own: that it answered, whatever it said, or
/// that it died. All else is the tool's affair.
#[must_use]
pub fn beside_tool(kind: OutcomeKind) -> Class {
    match kind {
        OutcomeKind::Answered | OutcomeKind::ToolError | OutcomeKind::RpcError(_) => Class::Success,
        OutcomeKind::Socket | OutcomeKind::UpstreamDied => Class::Failure,
        OutcomeKind::Timeout | OutcomeKind::BadAnswer | OutcomeKind::Cancelled => Class::Ignore,
    }
}

fn default_class(kind: OutcomeKind) -> Class {
    match kind {
        OutcomeKind::Answered | OutcomeKind::ToolError => Class::Success,
        OutcomeKind::RpcError(code) if CALLER_FAULT_CODES.contains(&code) => Class::Success,
        // −32603 and the server's own codes may mean anything: many servers send them for a bad argument.
        OutcomeKind::RpcError(_) | OutcomeKind::Cancelled => Class::Ignore,
        OutcomeKind::Timeout
        | OutcomeKind::Socket
        | OutcomeKind::UpstreamDied
        | OutcomeKind::BadAnswer => Class::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::{Class, ClassTable, KindPattern, OutcomeKind};

    #[test]
    fn an_instance_that_answers_has_not_failed() {
        let table = ClassTable::default();
        let cases = [
            (OutcomeKind::Answered, Class::Success),
            (OutcomeKind::ToolError, Class::Success),
            (OutcomeKind::RpcError(-32601), Class::Success),
            (OutcomeKind::RpcError(-32602), Class::Success),
            (OutcomeKind::RpcError(-32603), Class::Ignore),
            (OutcomeKind::RpcError(-32000), Class::Ignore),
            (OutcomeKind::Cancelled, Class::Ignore),
            (OutcomeKind::Timeout, Class::Failure),
            (OutcomeKind::Socket, Class::Failure),
            (OutcomeKind::UpstreamDied, Class::Failure),
            (OutcomeKind::BadAnswer, Class::Failure),
        ];
        for (kind, class) in cases {
            assert_eq!(table.classify(kind, 3_600_000), class, "{kind:?}");
        }
    }

    #[test]
    fn rules_come_before_the_defaults_and_slowness_only_spoils_success() {
        let rules = vec![
            (KindPattern::RpcError(Some(-32603)), Class::Failure),
            (KindPattern::RpcError(None), Class::Success),
            (KindPattern::ToolError, Class::Ignore),
        ];
        let table = ClassTable::new(rules, Some(1_000));
        assert_eq!(
            table.classify(OutcomeKind::RpcError(-32603), 0),
            Class::Failure
        );
        assert_eq!(table.classify(OutcomeKind::RpcError(7), 0), Class::Success);
        assert_eq!(table.classify(OutcomeKind::ToolError, 5_000), Class::Ignore);
        assert_eq!(table.classify(OutcomeKind::Answered, 1_000), Class::Success);
        assert_eq!(table.classify(OutcomeKind::Answered, 1_001), Class::Slow);
        assert_eq!(table.classify(OutcomeKind::Timeout, 1_001), Class::Failure);
    }
}
