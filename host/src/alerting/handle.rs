//! What the rest of the router asks of the alerts' loop.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use router_admin::{OperationError, Result};
use router_alerts::{
    AlertEngine,
    delivery::{DeliveryReport, Schedule, SinkTable},
    event::{AlertDone, AlertVerb},
    settings::AlertSettings,
};
use router_delivery::JournalState;
use router_telemetry::AlertMeters;
use router_values::rfc3339;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::figures;

/// Requests that may wait for the loop.
const REQUESTS_MAX: usize = 256;

/// How long a request may take: a step is made of memory and one fsync.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long a scrape waits for the loop, which answers in milliseconds: it is to tell that the loop does not, and not to hang with it.
const SCRAPE_WITHIN: Duration = Duration::from_secs(1);

/// Reports of deliveries that a listener may be behind: those of one test are a few.
const REPORTS_KEPT: usize = 256;

type AlertRead = Box<dyn FnOnce(&AlertEngine, &Schedule) + Send>;

/// What is asked of the loop.
pub(crate) enum AlertRequest {
    /// Show something.
    Read(AlertRead),
    /// Do something.
    Command {
        by: String,
        verb: AlertVerb,
        /// It counts as done only when it is on the disk, together with everything that was done before it.
        must_keep: bool,
        reply: oneshot::Sender<Result<AlertDone>>,
    },
    /// Send a delivery again.
    Retry {
        id: String,
        by: String,
        reply: oneshot::Sender<bool>,
    },
    /// The configuration changed.
    Configure(Box<AlertSettings>, SinkTable),
    /// Something changed that those who are notified may want to know.
    Changed(Arc<str>),
}

/// The loop's end of a handle.
pub(crate) struct AlertInbox {
    pub(crate) requests: mpsc::Receiver<AlertRequest>,
    pub(crate) reports: broadcast::Sender<DeliveryReport>,
}

/// A handle on the loop; cheap to clone.
#[derive(Clone)]
pub(crate) struct AlertsHandle {
    requests: mpsc::Sender<AlertRequest>,
    reports: broadcast::Sender<DeliveryReport>,
    journal: watch::Receiver<JournalState>,
}

impl AlertsHandle {
    /// A handle, and the loop's end of it.
    pub(crate) fn new(journal: watch::Receiver<JournalState>) -> (Self, AlertInbox) {
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let reports = broadcast::Sender::new(REPORTS_KEPT);
        let inbox = AlertInbox {
            requests: inbox,
            reports: reports.clone(),
        };
        let handle = Self {
            requests,
            reports,
            journal,
        };
        (handle, inbox)
    }

    /// Gives the metrics what they show of alerts.
    pub(crate) async fn report(&self, meters: &AlertMeters) {
        let read = self.read(|engine, schedule| {
            figures::figures(engine, schedule, router_values::unix_ms_now())
        });
        let read = tokio::time::timeout(SCRAPE_WITHIN, read).await;
        let journal = figures::journal(&self.journal.borrow());
        meters.report(journal, read.ok().and_then(Result::ok));
    }

    /// Shows something.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&AlertEngine, &Schedule) -> T + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let read: AlertRead = Box::new(move |engine, schedule| {
            let _ = reply.send(read(engine, schedule));
        });
        self.ask(AlertRequest::Read(read), answer).await
    }

    /// What becomes of deliveries from now on.
    pub(super) fn reports(&self) -> broadcast::Receiver<DeliveryReport> {
        self.reports.subscribe()
    }

    /// Does something for somebody.
    pub(crate) async fn command(&self, by: String, verb: AlertVerb) -> Result<AlertDone> {
        self.command_with(by, verb, false).await
    }

    /// The same, and it is on the disk when this returns.
    pub(crate) async fn command_kept(&self, by: String, verb: AlertVerb) -> Result<AlertDone> {
        self.command_with(by, verb, true).await
    }

    async fn command_with(
        &self,
        by: String,
        verb: AlertVerb,
        must_keep: bool,
    ) -> Result<AlertDone> {
        let (reply, answer) = oneshot::channel();
        let command = AlertRequest::Command {
            by,
            verb,
            must_keep,
            reply,
        };
        self.ask(command, answer).await?
    }

    /// Sends a delivery again.
    pub(crate) async fn retry(&self, id: String, by: String) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let unknown =
            format!("no delivery {id:?} waits or was given up; GET /api/deliveries lists them");
        if self
            .ask(AlertRequest::Retry { id, by, reply }, answer)
            .await?
        {
            Ok(())
        } else {
            Err(OperationError::NotFound(unknown))
        }
    }

    /// Applies a configuration.
    pub(crate) async fn configure(&self, settings: AlertSettings, sinks: SinkTable) {
        let request = AlertRequest::Configure(Box::new(settings), sinks);
        // A loop that has ended applies nothing any more.
        let _ = self.requests.send(request).await;
    }

    /// Notes a change of this moment that those who are notified may want to know. They hear of it for an hour, so the time of day
    /// says when it was.
    pub(crate) fn changed(&self, what: &str) {
        let now = rfc3339(SystemTime::now());
        let minute = now.get(11..16).unwrap_or(&now);
        let line = format!("{minute} UTC {what}");
        // Where so much is asked of the loop that there is no room, it is left out rather than waited for.
        let _ = self.requests.try_send(AlertRequest::Changed(line.into()));
    }

    async fn ask<T>(&self, request: AlertRequest, answer: oneshot::Receiver<T>) -> Result<T> {
        let ended = || OperationError::Unavailable {
            reason: "the router is shutting down".to_owned(),
            retry_after: None,
        };
        let exchange = async {
            self.requests.send(request).await.map_err(|_| ended())?;
            answer.await.map_err(|_| ended())
        };
        match tokio::time::timeout(ANSWER_WITHIN, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(OperationError::UnderWay(
                "the alerts did not answer in time: is the disk of the data directory slow?"
                    .to_owned(),
            )),
        }
    }
}
