//! A marked test of the sinks, and what is said of each: that it arrived, or why not, in the words of the receiver where it has some.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use router_admin::{OperationError, Result, TestResult};
use router_alerts::{
    AlertEngine, DeliveryId, Severity,
    delivery::{DeliveryProgress, HeldBy, Schedule, WaitingDelivery},
    event::{AlertDone, AlertVerb},
    facts::SinkFacts,
};
use router_values::{rfc3339_unix_ms, unix_ms_now};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::handle::AlertsHandle;

/// How long a test may take: an attempt takes 30 s at most, and others may be before it.
const TEST_WITHIN: Duration = Duration::from_secs(60);

/// How each sink that was awaited took it.
type Outcomes = Vec<(DeliveryId, TestResult)>;

impl AlertsHandle {
    /// Sends a marked test, and waits for how each sink answers. Of a sink that nothing is sent to for now it says so at once.
    pub(crate) async fn test(
        &self,
        by: String,
        severity: Severity,
        sink: Option<String>,
    ) -> Result<Vec<TestResult>> {
        let mut reports = self.reports();
        let sink = sink.map(Arc::from);
        let done = self.command(by, AlertVerb::Test { severity, sink }).await?;
        let AlertDone::Test(deliveries) = done else {
            return Err(OperationError::Failed(
                "the test was answered as another command".to_owned(),
            ));
        };
        let mut awaited = deliveries;
        let mut results = Vec::new();
        let mut take = |awaited: &mut Vec<DeliveryId>, outcomes: Outcomes| {
            for (delivery, result) in outcomes {
                if let Some(at) = awaited.iter().position(|one| *one == delivery) {
                    awaited.swap_remove(at);
                    results.push(result);
                }
            }
        };
        let held = self.outcomes(&awaited, held_back).await?;
        take(&mut awaited, held);
        let answers = async {
            while !awaited.is_empty() {
                let Some(outcome) = next(&mut reports).await else {
                    return;
                };
                take(&mut awaited, vec![outcome]);
            }
        };
        if tokio::time::timeout(TEST_WITHIN, answers).await.is_err() {
            let late = self.outcomes(&awaited, late).await?;
            take(&mut awaited, late);
        }
        results.sort_by(|one, other| one.sink.cmp(&other.sink));
        Ok(results)
    }

    /// What is to be said of those of these deliveries that wait.
    async fn outcomes(
        &self,
        awaited: &[DeliveryId],
        say: fn(&WaitingDelivery, &SinkFacts) -> Option<String>,
    ) -> Result<Outcomes> {
        let awaited = awaited.to_vec();
        let read = move |_: &AlertEngine, schedule: &Schedule| {
            let sinks: BTreeMap<String, SinkFacts> = schedule
                .sink_facts()
                .map(|facts| (facts.name.clone(), facts))
                .collect();
            let waiting = schedule.waiting(unix_ms_now());
            let waiting = waiting.filter(|one| awaited.contains(&one.delivery.id));
            let said = waiting.filter_map(|one| {
                let facts = sinks.get(&*one.delivery.sink)?;
                let outcome = Err(say(&one, facts)?);
                let sink = one.delivery.sink.to_string();
                Some((one.delivery.id.clone(), TestResult { sink, outcome }))
            });
            said.collect()
        };
        self.read(read).await
    }
}

/// The next delivery that ended, whose ever; `None`: the loop has.
async fn next(
    reports: &mut Receiver<router_alerts::delivery::DeliveryReport>,
) -> Option<(DeliveryId, TestResult)> {
    loop {
        let report = match reports.recv().await {
            Ok(report) => report,
            // What was missed is not known: the time runs out then.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return None,
        };
        let outcome = match report.progress {
            DeliveryProgress::Delivered { .. } => Ok(()),
            DeliveryProgress::Failed { error, .. } => Err(error.to_string()),
            DeliveryProgress::DeadLetter { reason, .. } => Err(reason),
            _ => continue,
        };
        let sink = report.sink.to_string();
        return Some((report.delivery, TestResult { sink, outcome }));
    }
}

/// Why nothing is attempted at this sink for longer than somebody waits, if so.
fn held_back(waiting: &WaitingDelivery, sink: &SinkFacts) -> Option<String> {
    if let Some(reason) = &sink.gone {
        return Some(format!(
            "nothing is sent there until its configuration or secret changes, or a delivery is retried: {reason}"
        ));
    }
    let (by @ (HeldBy::Breaker | HeldBy::RetryAfter), Some(until_ms)) = waiting.held? else {
        return None;
    };
    let until = rfc3339_unix_ms(i64::try_from(until_ms).unwrap_or(i64::MAX));
    let reason = sink.reason.as_deref().unwrap_or("it failed before");
    Some(format!(
        "it is held until {until} ({}), and tried then: {reason}",
        by.as_str()
    ))
}

fn late(waiting: &WaitingDelivery, sink: &SinkFacts) -> Option<String> {
    Some(held_back(waiting, sink).unwrap_or_else(|| {
        let failure = waiting.failure.as_ref().or(sink.reason.as_ref());
        let failure = failure.map_or_else(String::new, |failure| format!(": {failure}"));
        format!("it did not answer in time; it is tried again{failure}")
    }))
}
