//! The courier: it carries out what the schedule decides. What a step changes is in the journal before anything of it is sent.
//!
//! One owner feeds it and asks it what comes next. It keeps no queue of its own: how much is under way, and for how long, is bounded
//! by the schedule. A disk that does not answer holds nothing up for longer than two seconds: a page that is sent twice after
//! a crash is better than one that is not sent.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use router_alerts::{
    DeliveryId,
    delivery::{
        ATTEMPT_MS_MAX, Attempt, DeliveryReport, DeliveryRow, DeliveryRowKey, RowChange, Schedule,
        ScheduleEffects, ScheduleEvent, ScheduleLimits, SinkHealth, SinkTable,
    },
    notice::{DeliveryError, Link, Notice, OVER, Receipt},
};
use serde::Serialize;
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use crate::journal::{AlertJournal, JournalContents, JournalRow, NotDurable};

/// How long a step waits for the disk. An fsync takes milliseconds, and a second on a disk that is busy.
const COMMIT_WAIT: Duration = Duration::from_secs(2);
/// What the names of the schedule's rows begin with in the journal.
const ROWS: &str = "delivery/";

/// Delivers one notice to one sink.
pub trait Sink: Send + Sync + 'static {
    /// Delivers within the notice's deadline, and returns the sink's receipt, if it gave one. It is dropped when the deadline has
    /// passed: what the other side made of it is then unknown.
    fn deliver(
        &self,
        sink: Arc<str>,
        notice: Notice,
    ) -> impl Future<Output = Result<Option<Receipt>, DeliveryError>> + Send;
}

/// What a courier is made with.
#[derive(Debug)]
pub struct CourierSettings {
    /// The sinks.
    pub sinks: SinkTable,
    /// How much the schedule holds.
    pub limits: ScheduleLimits,
    /// Another one in each life.
    pub seed: u64,
}

/// What a step led to.
#[derive(Debug, Default)]
pub struct StepOutcome {
    /// What became of deliveries.
    pub reports: Vec<DeliveryReport>,
    /// Sinks whose health changed.
    pub sinks: Vec<SinkHealth>,
    /// Why the step is not on the disk, if it is not. It was carried out all the same.
    pub not_durable: Option<NotDurable>,
}

/// Which attempt ended, and how.
type EndedAttempt = (DeliveryId, u32, Result<Option<Receipt>, DeliveryError>);

/// See the module.
#[derive(Debug)]
pub struct Courier<S> {
    schedule: Schedule,
    journal: AlertJournal,
    sink: Arc<S>,
    clock: StepClock,
    under_way: JoinSet<EndedAttempt>,
    /// Which attempt a task makes, should it panic.
    tasks: HashMap<Id, (DeliveryId, u32)>,
    /// What was decided and is not carried out.
    decided: ScheduleEffects,
}

impl<S: Sink> Courier<S> {
    /// A courier that goes on where the journal's rows end, and what it found to do at once. Rows of others are left in `kept`.
    pub async fn start(
        settings: CourierSettings,
        journal: AlertJournal,
        kept: &mut JournalContents,
        sink: Arc<S>,
    ) -> (Self, StepOutcome) {
        let own = kept.rows.extract_if(.., |key, _| key.starts_with(ROWS));
        let rows: Vec<DeliveryRow> = own.filter_map(|(key, value)| {
            let row = serde_json::from_str(value.get());
            row.inspect_err(|error| {
                tracing::error!(key, error = %error, "row of the alert journal is none of this version");
            }).ok()
        }).collect();
        let clock = StepClock::start();
        let CourierSettings {
            sinks,
            limits,
            seed,
        } = settings;
        let (schedule, mut decided) = Schedule::new(clock.now_ms(), &sinks, limits, seed, rows);
        let reports = std::mem::take(&mut decided.reports);
        let mut courier = Self {
            schedule,
            journal,
            sink,
            clock,
            under_way: JoinSet::new(),
            tasks: HashMap::new(),
            decided,
        };
        let not_durable = courier.carry_out(Vec::new()).await;
        let outcome = StepOutcome {
            reports,
            sinks: Vec::new(),
            not_durable,
        };
        (courier, outcome)
    }

    /// Feeds the schedule and carries out what it decides, with rows of others that belong to the same step.
    pub async fn step(&mut self, event: ScheduleEvent, with: Vec<JournalRow>) -> StepOutcome {
        let (reports, sinks) = self.decide(event);
        let not_durable = self.carry_out(with).await;
        StepOutcome {
            reports,
            sinks,
            not_durable,
        }
    }

    /// Feeds the schedule and returns what it reports. Who hears of that may decide more, and feed it again: all that one moment
    /// leads to belongs in one record, or a crash in between leaves one side without what the other knows.
    pub fn decide(&mut self, event: ScheduleEvent) -> (Vec<DeliveryReport>, Vec<SinkHealth>) {
        self.schedule
            .step(self.clock.now_ms(), event, &mut self.decided);
        let reports = std::mem::take(&mut self.decided.reports);
        (reports, std::mem::take(&mut self.decided.sinks))
    }

    /// Writes what was decided, with rows of others that belong to it, in one record of the journal, and begins the attempts. Why
    /// the record is not on the disk, if it is not: the attempts begin all the same.
    pub async fn carry_out(&mut self, with: Vec<JournalRow>) -> Option<NotDurable> {
        let ScheduleEffects {
            changes, attempts, ..
        } = std::mem::take(&mut self.decided);
        let mut rows = with;
        let mut not_durable = None;
        for change in &changes {
            match journal_row(change) {
                Ok(row) => rows.push(row),
                Err(error) => not_durable = Some(NotDurable::Refused(error.to_string())),
            }
        }
        if !rows.is_empty() {
            not_durable = self.commit(rows).await.err().or(not_durable);
        }
        for attempt in attempts {
            self.begin(&attempt);
        }
        not_durable
    }

    /// Waits until everything that was carried out is on the disk; why it is not, where it is not.
    pub async fn flush(&self) -> Option<NotDurable> {
        self.commit(Vec::new()).await.err()
    }

    async fn commit(&self, rows: Vec<JournalRow>) -> Result<(), NotDurable> {
        let kept = timeout(COMMIT_WAIT, self.journal.commit(rows)).await;
        let slow = || NotDurable::Refused("the disk does not answer".to_owned());
        kept.unwrap_or_else(|_| Err(slow()))
    }

    /// Waits for what comes next of itself, to be fed to [`Courier::decide`]: an attempt that ended, or a moment that the schedule
    /// asked for. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> ScheduleEvent {
        let wake = self
            .schedule
            .next_wake()
            .map(|wake_ms| self.clock.at(wake_ms));
        let tick = async {
            match wake {
                Some(wake) => sleep_until(wake).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ended) = self.under_way.join_next_with_id(), if !self.under_way.is_empty() => {
                self.ended(ended)
            }
            () = tick => ScheduleEvent::Tick,
        }
    }

    /// What waits, what was given up, and how sinks are.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// How many bytes of rows the journal has room for.
    #[must_use]
    pub fn journal_room(&self) -> u64 {
        self.journal.room()
    }

    /// Now, as the schedule counts it: in milliseconds since 1970, and never back.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn ended(&mut self, ended: Result<(Id, EndedAttempt), JoinError>) -> ScheduleEvent {
        let (delivery, attempt, result) = match ended {
            Ok((id, ended)) => {
                self.tasks.remove(&id);
                ended
            }
            Err(error) => {
                let Some((delivery, attempt)) = self.tasks.remove(&error.id()) else {
                    return ScheduleEvent::Tick;
                };
                tracing::error!(delivery = %delivery, error = %error, "attempt at a delivery panicked");
                (
                    delivery,
                    attempt,
                    Err(DeliveryError::Other("the attempt panicked".to_owned())),
                )
            }
        };
        ScheduleEvent::Ended {
            delivery,
            attempt,
            result,
        }
    }

    fn begin(&mut self, attempt: &Attempt) {
        let sink = Arc::clone(&self.sink);
        let (delivery, number) = (attempt.delivery.id.clone(), attempt.attempt);
        let name = Arc::clone(&attempt.delivery.sink);
        let notice = notice(attempt, self.clock.now_ms());
        let ended = (delivery.clone(), number);
        let task = self.under_way.spawn(async move {
            let deadline = Duration::from_millis(ATTEMPT_MS_MAX);
            let result = timeout(deadline, sink.deliver(name, notice)).await;
            let late = || DeliveryError::Other(format!("no answer in {} s", deadline.as_secs()));
            (ended.0, ended.1, result.unwrap_or_else(|_| Err(late())))
        });
        self.tasks.insert(task.id(), (delivery, number));
    }
}

/// What a sink is asked to deliver. Addresses to offer are for who knows the router's own.
fn notice(attempt: &Attempt, now_ms: u64) -> Notice {
    let delivery = &attempt.delivery;
    let links: Vec<Link> = Vec::new();
    let over = attempt
        .is_over
        .then(|| (OVER.to_owned(), "true".to_owned()));
    Notice {
        now_ms,
        id: delivery.id.to_string(),
        occasion: delivery.occasion.clone(),
        group_key: delivery.group_key.to_string(),
        alerts: delivery.listed.clone(),
        more: delivery.more,
        changes: delivery.changes.iter().map(ToString::to_string).collect(),
        links,
        attempt: attempt.attempt,
        deadline_ms: ATTEMPT_MS_MAX,
        receipt: attempt.receipt.clone(),
        attributes: over.into_iter().collect(),
    }
}

fn journal_row(change: &RowChange) -> Result<JournalRow, serde_json::Error> {
    let name =
        |key: &DeliveryRowKey| Ok::<_, serde_json::Error>(format!("{ROWS}{}", to_json(key)?));
    Ok(match change {
        RowChange::Put(row) => (name(&row.key)?, Some(serde_json::value::to_raw_value(row)?)),
        RowChange::Remove(key) => (name(key)?, None),
    })
}

fn to_json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(value)
}

/// Time that is the wall clock's at the start and the machine's from then on: a clock that is set brings no attempt forward and
/// holds none up.
#[derive(Debug, Clone, Copy)]
struct StepClock {
    started_ms: u64,
    started: Instant,
}

impl StepClock {
    fn start() -> Self {
        Self {
            started_ms: router_values::unix_ms_now(),
            started: Instant::now(),
        }
    }

    fn now_ms(&self) -> u64 {
        let elapsed = self.started.elapsed().as_millis();
        self.started_ms
            .saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    fn at(&self, at_ms: u64) -> Instant {
        self.started + Duration::from_millis(at_ms.saturating_sub(self.started_ms))
    }
}
