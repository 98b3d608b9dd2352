//! One run as the driver holds it: its connection, and what that and the driver's tasks report.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use router_config::Waits;
use router_core::{
    Run, SlotKey,
    event::{Adopted, Event},
};
use router_upstream::{Closed, Connection, Handshake, ListKind, Upstream, UpstreamEvents};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{ports::Ports, shim_blob::ShimBlob};

/// What connections and the driver's own tasks report.
pub(super) enum InternalEvent {
    /// An event that needs nothing else.
    Core(Event),
    /// A `socket` instance was reached.
    Opened {
        key: SlotKey,
        run: Run,
        upstream: Arc<Upstream>,
    },
    /// The handshake was answered and the tools were read.
    Handshaken {
        key: SlotKey,
        run: Run,
        handshake: Box<Handshake>,
    },
    /// A connection ended.
    Ended {
        key: SlotKey,
        run: Run,
        closed: Arc<Closed>,
    },
    /// The instance said that its tools changed.
    ToolsChanged { key: SlotKey, run: Run },
    /// The changed list was read, or could not be.
    Relisted {
        key: SlotKey,
        run: Run,
        tools: Result<Vec<String>, String>,
    },
    /// A survivor is connected again, or cannot be.
    Resumed(Box<Resumed>),
}

/// One run that lives, or is about to.
pub(super) struct Live {
    pub(super) run: Run,
    pub(super) upstream: Option<Arc<Upstream>>,
    /// Cancelled once the connection has closed the descriptors.
    pub(super) gone: CancellationToken,
    pub(super) blob: ShimBlob,
    pub(super) wait: Waits,
    pub(super) ready_by_ms: u64,
    pub(super) memory_bytes: Option<u64>,
    pub(super) relist: Relist,
}

impl Live {
    /// A run without a connection yet.
    pub(super) fn new(run: Run, blob: ShimBlob, wait: Waits, ready_by_ms: u64) -> Self {
        Self {
            run,
            upstream: None,
            gone: CancellationToken::new(),
            blob,
            wait,
            ready_by_ms,
            memory_bytes: None,
            relist: Relist::default(),
        }
    }

    /// The connection is given up by us.
    pub(super) fn close(&self) {
        if let Some(upstream) = &self.upstream {
            upstream.close();
        }
    }

    /// The process at its other end is gone, even where another one holds its output open.
    pub(super) fn close_died(&self) {
        if let Some(upstream) = &self.upstream {
            upstream.close_died();
        }
    }

    /// What its connection needs to report.
    pub(super) fn reporter(
        &self,
        key: &SlotKey,
        internal: mpsc::Sender<InternalEvent>,
    ) -> ConnectionReporter {
        ConnectionReporter {
            key: key.clone(),
            run: self.run,
            gone: self.gone.clone(),
            is_change_reported: Arc::clone(&self.relist.is_reported),
            internal,
        }
    }
}

/// How far the reading of a changed tool list is.
#[derive(Debug, Default)]
pub(super) struct Relist {
    pub(super) is_under_way: bool,
    pub(super) is_stale: bool,
    pub(super) began: Option<Instant>,
    /// Set while a change waits for the driver, so that a flood of notifications is one event.
    pub(super) is_reported: Arc<AtomicBool>,
}

/// A survivor, connected again or not.
pub(super) struct Resumed {
    pub(super) adopted: Adopted,
    pub(super) live: Live,
    pub(super) fault: Option<String>,
}

/// What a connection needs to report to the driver.
#[derive(Clone)]
pub(super) struct ConnectionReporter {
    pub(super) key: SlotKey,
    pub(super) run: Run,
    gone: CancellationToken,
    is_change_reported: Arc<AtomicBool>,
    pub(super) internal: mpsc::Sender<InternalEvent>,
}

/// Passes on what a connection reports, from the connection's own task.
pub(super) struct ConnectionListener {
    pub(super) reporter: ConnectionReporter,
    pub(super) ports: Arc<dyn Ports>,
}

impl UpstreamEvents for ConnectionListener {
    fn unknown_reply(&self) {
        self.ports.count_late_reply();
    }

    fn list_changed(&self, kind: ListKind) {
        let ConnectionReporter {
            key, run, internal, ..
        } = &self.reporter;
        let is_reported = &self.reporter.is_change_reported;
        if kind == ListKind::Tools && !is_reported.swap(true, Ordering::AcqRel) {
            let changed = InternalEvent::ToolsChanged {
                key: key.clone(),
                run: *run,
            };
            // The list is read again when it next changes, and when the instance is next started.
            if internal.try_send(changed).is_err() {
                is_reported.store(false, Ordering::Release);
                tracing::warn!(instance = %key.instance, "tool list change dropped: too many events wait for the driver");
            }
        }
    }
}

/// Polls a connection to its end, and reports that.
pub(super) async fn report_end(reporter: ConnectionReporter, connection: Connection) {
    let closed = connection.await;
    reporter.gone.cancel();
    let (key, run) = (reporter.key, reporter.run);
    let _ = reporter
        .internal
        .send(InternalEvent::Ended { key, run, closed })
        .await;
}
