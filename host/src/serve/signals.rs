//! The signals that a daemon listens to, and those that would end it though nobody meant that.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// See the module.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    unused: [Signal; 2],
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalRequest {
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    End,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("signals cannot be listened to");
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
            // Other daemons rotate logs or raise their log level by these.
            unused: [
                on(SignalKind::user_defined1())?,
                on(SignalKind::user_defined2())?,
            ],
        })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> SignalRequest {
        let [first, second] = &mut self.unused;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return SignalRequest::End,
                _ = self.interrupt.recv() => return SignalRequest::End,
                _ = self.hangup.recv() => return SignalRequest::Reload,
                _ = first.recv() => {}
                _ = second.recv() => {}
            }
            tracing::info!(
                "signal ignored: SIGHUP reloads the configuration, SIGTERM ends the router"
            );
        }
    }

    /// The next request to end. Reloads do not count any more.
    pub(super) async fn end(&mut self) {
        while self.next().await != SignalRequest::End {}
    }
}
