//! What can go wrong with a run, described for people, and how two failures are recognised as the same.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::event::{Evidence, Exit};

/// Longest `lastError`: it stands in JSON beside many others, the whole tail is in the crash record.
const LAST_ERROR_CHARS_MAX: usize = 400;

/// Why a run failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Failure {
    /// It could not be started.
    Spawn(String),
    /// It was not ready within so many milliseconds.
    StartTimeout(u64),
    /// Handshake or tool list failed.
    Handshake(String),
    /// It ended although it was wanted.
    Exited { was_ready: bool },
    /// Its shim vanished.
    ShimLost,
    /// Its connection broke.
    UpstreamLost(String),
    /// Its memory reached the limit.
    Memory { bytes: u64, limit_bytes: u64 },
    /// Its tree holds more processes than it may.
    Processes { count: u32, limit: u32 },
}

impl Failure {
    /// One decision without its full stop, for people.
    pub(crate) fn describe(&self, exit: Option<Exit>) -> String {
        let ended = exit.map(|exit| format!("it {exit}"));
        let text = match self {
            // Operators search for this message.
            Self::Spawn(error) => return format!("Spawn failed: {error}"),
            Self::Exited { was_ready } => {
                let when = if *was_ready {
                    "while it was wanted"
                } else {
                    "before it was ready"
                };
                return match exit {
                    Some(exit) => format!("it {exit} {when}"),
                    None => format!("it ended {when}"),
                };
            }
            Self::StartTimeout(ms) => format!("it was not ready within {ms} ms and was stopped"),
            Self::Handshake(error) => format!("its MCP handshake failed: {error}"),
            Self::ShimLost => "its shim was lost and its processes were killed".to_owned(),
            Self::UpstreamLost(error) => format!("the connection to it broke: {error}"),
            Self::Memory { bytes, limit_bytes } => {
                let mib = |bytes: &u64| bytes / (1024 * 1024);
                format!(
                    "its memory reached {} MiB of {} MiB allowed and it was killed",
                    mib(bytes),
                    mib(limit_bytes)
                )
            }
            Self::Processes { count, limit } => {
                format!("its tree grew to {count} processes of {limit} allowed and it was killed")
            }
        };
        // How a process ends that was stopped or killed for its failure is no news; that it ended by itself is.
        match (self, ended) {
            (Self::Handshake(_) | Self::UpstreamLost(_), Some(ended)) => {
                format!("{text} ({ended})")
            }
            _ => text,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::Unknown => f.write_str("ended in an unknown way"),
        }
    }
}

/// The last line of stderr that holds anything.
pub(crate) fn last_line(evidence: &Evidence) -> Option<&str> {
    evidence
        .stderr_tail
        .iter()
        .rev()
        .map(|line| line.trim())
        .find(|line| !line.is_empty())
}

/// Two failures with the same signature are taken for the same fault: same end, same last line. Numbers in the line (times,
/// process ids, ports) are not compared.
pub(crate) fn signature(failure: &Failure, exit: Option<Exit>, evidence: &Evidence) -> u64 {
    let mut hasher = DefaultHasher::new();
    exit.hash(&mut hasher);
    if let Failure::Spawn(error) = failure {
        without_numbers(error).hash(&mut hasher);
    }
    last_line(evidence).map(without_numbers).hash(&mut hasher);
    hasher.finish()
}

fn without_numbers(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !plain.ends_with('#') {
            plain.push(c);
        }
    }
    plain
}

/// What is shown as `lastError`: the failure, and the last line of stderr where there is one.
pub(crate) fn last_error(reason: &str, evidence: &Evidence) -> String {
    let whole = match last_line(evidence) {
        Some(line) => format!("{reason}; its last words: {line}"),
        None => reason.to_owned(),
    };
    whole.chars().take(LAST_ERROR_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::{Failure, last_error, signature};
    use crate::event::{Evidence, Exit};

    fn dying(message: &str) -> Evidence {
        Evidence {
            stderr_tail: vec!["Traceback".into(), message.into(), "  ".into()],
            ..Evidence::default()
        }
    }

    #[test]
    fn the_same_fault_has_the_same_signature_whatever_the_numbers() {
        let exited = Failure::Exited { was_ready: false };
        let sign = |exit, message: &str| signature(&exited, Some(exit), &dying(message));
        let one = sign(Exit::Code(1), "12:01:07 port 4711 in use");
        assert_eq!(one, sign(Exit::Code(1), "9:59:8 port 23 in use"));
        assert_ne!(one, sign(Exit::Code(2), "12:01:07 port 4711 in use"));
        assert_ne!(one, sign(Exit::Code(1), "no such module"));
        let spawn =
            |error: &str| signature(&Failure::Spawn(error.into()), None, &Evidence::default());
        assert_eq!(spawn("EADDRINUSE 1"), spawn("EADDRINUSE 22"));
        assert_ne!(spawn("EADDRINUSE 1"), spawn("ENOENT"));
    }

    #[test]
    fn a_failure_says_what_happened() {
        let cases = [
            (
                Failure::Spawn("ENOENT".into()),
                None,
                "Spawn failed: ENOENT",
            ),
            (
                Failure::Exited { was_ready: false },
                Some(Exit::Code(3)),
                "it exited with code 3 before it was ready",
            ),
            (
                Failure::Exited { was_ready: true },
                Some(Exit::Signal(9)),
                "it was ended by signal 9 while it was wanted",
            ),
            (
                Failure::Handshake("end of file".into()),
                Some(Exit::Code(1)),
                "its MCP handshake failed: end of file (it exited with code 1)",
            ),
        ];
        for (failure, exit, text) in cases {
            assert_eq!(failure.describe(exit), text);
        }
        // How it ended is no news where the router itself ended it.
        let ended = Some(Exit::Signal(9));
        let limit_bytes = 100 << 20;
        let killed = [
            (Failure::StartTimeout(10_000), "within 10000 ms"),
            (Failure::ShimLost, "its shim was lost"),
            (
                Failure::Memory {
                    bytes: 120 << 20,
                    limit_bytes,
                },
                "120 MiB of 100 MiB",
            ),
            (
                Failure::Processes {
                    count: 65,
                    limit: 64,
                },
                "65 processes of 64",
            ),
        ];
        for (failure, expected) in killed {
            let text = failure.describe(ended);
            assert!(
                text.contains(expected) && !text.contains("signal"),
                "{text}"
            );
        }
        assert_eq!(
            last_error("it ended", &dying("boom")),
            "it ended; its last words: boom"
        );
        assert_eq!(
            last_error("x", &dying(&"y".repeat(9_000))).chars().count(),
            400
        );
    }
}
