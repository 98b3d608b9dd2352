//! The loop that decides about alerts: one step after the other, each on disk before anything of it is sent.
//!
//! What goes in: answers of rules, what operators ask for, how attempts ended, and time. The engine decides what each sink is to be
//! notified of; the courier keeps that together with what its schedule makes of it, and sends.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use router_admin::OperationError;
use router_alerts::{
    AlertEngine, DeliveryId,
    delivery::{DeliveryReport, ScheduleEvent, SinkHealth},
    event::{AlertAction, AlertCommand, AlertCommandError, AlertDone, AlertEvent, RuleAnswer},
    facts::SinkFacts,
    record::RecordChange,
    settings::AlertSettings,
};
use router_delivery::{
    AlertJournal, Courier, CourierSettings, JournalContents, JournalRow, NotDurable, StepOutcome,
};
use router_values::HistoryRow;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

use super::{
    figures,
    handle::{AlertInbox, AlertRequest},
    heartbeat::AuditResult,
    kept::{self, RecordKeeper},
    projection::{DatabaseEnd, DatabaseProjection},
    published, rows,
    sinks::SinkCaller,
};
use crate::{announcer::Announcer, meters::RouterMeters};

/// Who waits for the end of a command, and whether it counts only when it is on the disk.
struct Waiting {
    must_keep: bool,
    reply: oneshot::Sender<router_admin::Result<AlertDone>>,
}

/// See the module.
pub(crate) struct AlertRoom {
    engine: AlertEngine,
    courier: Courier<SinkCaller>,
    keeper: RecordKeeper,
    inbox: AlertInbox,
    answers: mpsc::Receiver<RuleAnswer>,
    commands: HashMap<u64, Waiting>,
    commands_count: u64,
    sink_states: watch::Sender<Vec<SinkFacts>>,
    audits: watch::Sender<AuditResult>,
    announcer: Arc<Announcer>,
    meters: Arc<RouterMeters>,
    /// The journal refused the last step: logged once.
    is_refused: bool,
    /// What became of deliveries, to be published when the step is on disk.
    happened: Vec<HistoryRow>,
    database: DatabaseProjection,
    /// What the journal says, and what the courier found to do at once.
    first: VecDeque<RoomInput>,
}

/// What the loop is opened with.
pub(crate) struct RoomParts {
    pub(crate) settings: AlertSettings,
    pub(crate) courier: CourierSettings,
    pub(crate) journal: AlertJournal,
    pub(crate) kept: JournalContents,
    pub(crate) sinks: Arc<SinkCaller>,
    pub(crate) inbox: AlertInbox,
    pub(crate) answers: mpsc::Receiver<RuleAnswer>,
    pub(crate) sink_states: watch::Sender<Vec<SinkFacts>>,
    pub(crate) audits: watch::Sender<AuditResult>,
    pub(crate) announcer: Arc<Announcer>,
    pub(crate) meters: Arc<RouterMeters>,
    pub(crate) database: DatabaseEnd,
    /// The life of the router.
    pub(crate) epoch: u64,
    /// Firings are numbered from here on; 0 where the journal says it.
    pub(crate) floor: u32,
}

/// Something that happens in a step.
enum RoomInput {
    Alert(AlertEvent),
    Delivery(ScheduleEvent),
}

impl AlertRoom {
    /// A loop that goes on where the journal ends. It decides nothing before [`AlertRoom::run`].
    pub(crate) async fn new(parts: RoomParts) -> Self {
        let mut contents = parts.kept;
        if contents.damaged > 0 {
            let damaged = contents.damaged;
            tracing::error!(damaged, "alert journal is damaged: steps are missing");
        }
        let mut keeper = RecordKeeper::default();
        let mut record = keeper.restore(&contents);
        let known = record.changes.iter().filter_map(|change| match change {
            RecordChange::Alert { alert, .. } => Some(alert.id),
            _ => None,
        });
        let database = DatabaseProjection::restore(&contents, parts.epoch, known, parts.database);
        if parts.floor > 0 {
            record.changes.push(RecordChange::FiringFloor(parts.floor));
        }
        let (mut courier, first) =
            Courier::start(parts.courier, parts.journal, &mut contents, parts.sinks).await;
        if parts.floor > 0 {
            let floor = vec![kept::floor_row(parts.floor)];
            // Where it is not on the disk, the next start reads it from the database again.
            let _ = courier.carry_out(floor).await;
        }
        let now_ms = courier.now_ms();
        let read = AlertEvent::JournalRead(vec![record]);
        let mut room = Self {
            engine: AlertEngine::new(parts.settings, now_ms),
            courier,
            keeper,
            inbox: parts.inbox,
            answers: parts.answers,
            commands: HashMap::new(),
            commands_count: 0,
            sink_states: parts.sink_states,
            audits: parts.audits,
            announcer: parts.announcer,
            meters: parts.meters,
            is_refused: false,
            happened: Vec::new(),
            database,
            first: VecDeque::from([RoomInput::Alert(read)]),
        };
        let StepOutcome {
            reports,
            sinks,
            not_durable,
        } = first;
        room.note_durability(not_durable.as_ref());
        let mut inputs = std::mem::take(&mut room.first);
        room.hear(reports, sinks, &mut inputs);
        room.first = inputs;
        room
    }

    /// Runs until nobody has a handle on it any more.
    pub(crate) async fn run(mut self) {
        let mut inputs = std::mem::take(&mut self.first);
        loop {
            self.carry_out(&mut inputs).await;
            self.database.send();
            let wake_ms = self.engine.next_wake();
            let rest = Duration::from_millis(wake_ms.saturating_sub(self.courier.now_ms()));
            tokio::select! {
                request = self.inbox.requests.recv() => match request {
                    Some(request) => inputs.extend(self.take(request)),
                    None => return,
                },
                Some(answer) = self.answers.recv() => {
                    inputs.push_back(RoomInput::Alert(AlertEvent::Answered(answer)));
                }
                Some(()) = self.database.brought() => self.database.confirm(),
                event = self.courier.next() => inputs.push_back(RoomInput::Delivery(event)),
                () = sleep(rest) => inputs.push_back(RoomInput::Alert(AlertEvent::Tick)),
            }
        }
    }

    /// What a request means to the engine and the courier.
    fn take(&mut self, request: AlertRequest) -> Vec<RoomInput> {
        match request {
            AlertRequest::Read(read) => {
                read(&self.engine, self.courier.schedule());
                Vec::new()
            }
            AlertRequest::Command {
                by,
                verb,
                must_keep,
                reply,
            } => {
                self.commands_count += 1;
                let id = self.commands_count;
                self.commands.insert(id, Waiting { must_keep, reply });
                let command = AlertCommand { id, by, verb };
                vec![RoomInput::Alert(AlertEvent::Command(command))]
            }
            AlertRequest::Retry { id, by, reply } => {
                let delivery = self.find(&id);
                let _ = reply.send(delivery.is_some());
                let retry = delivery.map(|delivery| ScheduleEvent::Retry { delivery, by });
                retry.map(RoomInput::Delivery).into_iter().collect()
            }
            AlertRequest::Configure(settings, table) => vec![
                RoomInput::Delivery(ScheduleEvent::Configured(table)),
                RoomInput::Alert(AlertEvent::SettingsApplied(settings)),
            ],
            AlertRequest::Changed(line) => vec![RoomInput::Alert(AlertEvent::Changed(line))],
        }
    }

    /// The delivery of that id which waits or was given up.
    fn find(&self, id: &str) -> Option<DeliveryId> {
        let schedule = self.courier.schedule();
        let waiting = schedule
            .waiting(self.courier.now_ms())
            .map(|one| one.delivery);
        let dead = schedule.dead_letters().map(|one| one.delivery);
        let found = waiting
            .chain(dead)
            .find(|delivery| delivery.id.as_str() == id);
        found.map(|delivery| delivery.id.clone())
    }

    /// Takes in what happened, and everything that follows from it: all of one moment is one record of the journal, and is sent when
    /// that is on disk. It ends: a report of the courier makes the engine order less than it reported.
    async fn carry_out(&mut self, inputs: &mut VecDeque<RoomInput>) {
        let mut moment = Moment::default();
        while let Some(input) = inputs.pop_front() {
            match input {
                RoomInput::Alert(event) => {
                    let mut out = Vec::new();
                    self.engine.step(self.courier.now_ms(), event, &mut out);
                    for action in out {
                        self.act(action, &mut moment, inputs);
                    }
                }
                RoomInput::Delivery(event) => self.decide(event, inputs),
            }
        }
        let (now_ms, room) = (self.courier.now_ms(), self.courier.journal_room());
        self.database
            .add_to(&mut moment.rows, &self.engine, now_ms, room);
        let not_durable = self.courier.carry_out(moment.rows).await;
        self.note_durability(not_durable.as_ref());
        for row in moment.happened.into_iter().chain(self.happened.drain(..)) {
            self.announcer.publish(row);
        }
        for (id, result) in moment.done {
            self.answer(id, result, not_durable.clone()).await;
        }
        let states: Vec<SinkFacts> = self.courier.schedule().sink_facts().collect();
        self.sink_states.send_if_modified(|before| {
            let differs = *before != states;
            *before = states;
            differs
        });
    }

    /// Ends a command. One that must be kept changed perhaps nothing, because it was done before: then that is to be on the disk.
    async fn answer(
        &mut self,
        id: u64,
        result: Result<AlertDone, AlertCommandError>,
        not_durable: Option<NotDurable>,
    ) {
        let Some(Waiting { must_keep, reply }) = self.commands.remove(&id) else {
            return;
        };
        let not_kept = match not_durable {
            None if must_keep => self.courier.flush().await,
            reason => reason.filter(|_| must_keep),
        };
        let result = result.map_err(|error| OperationError::Conflict(error.to_string()));
        // Who asked may be gone.
        let _ = reply.send(match not_kept {
            Some(reason) => Err(OperationError::Unavailable {
                reason: reason.to_string(),
                retry_after: None,
            }),
            None => result,
        });
    }

    fn act(&mut self, action: AlertAction, moment: &mut Moment, inputs: &mut VecDeque<RoomInput>) {
        match action {
            AlertAction::Keep(record) => {
                moment.rows.extend(self.keeper.rows(&record, &self.engine));
                moment.happened.extend(published::rows(&record));
                figures::count_fired(self.meters.metrics.alerts(), &record);
                self.database.note(rows::of_record(&record, &self.engine));
                self.decide(ScheduleEvent::Ordered(record.orders), inputs);
            }
            AlertAction::CommandDone { id, result } => {
                moment.done.push((id, result));
            }
            AlertAction::Audited { findings, .. } => {
                let meters = self.meters.metrics.alerts();
                meters.set_audit(self.courier.now_ms(), &findings);
                self.audits.send_replace(AuditResult {
                    findings: findings.len(),
                });
                for finding in findings {
                    let alert = finding.alert.map(|alert| alert.to_string());
                    let reason = finding.what.as_str();
                    tracing::error!(alert, reason, "alert audit found an irregularity");
                }
            }
            AlertAction::AnswerRefused {
                rule,
                reasons,
                left_out,
            } => {
                let reason = reasons.join("; ");
                let plugin = &*rule;
                tracing::warn!(
                    plugin,
                    reason,
                    left_out,
                    "conditions of an alert rule refused"
                );
            }
        }
    }

    fn decide(&mut self, event: ScheduleEvent, inputs: &mut VecDeque<RoomInput>) {
        let (reports, sinks) = self.courier.decide(event);
        self.hear(reports, sinks, inputs);
    }

    /// What the engine is to hear of the courier.
    fn hear(
        &mut self,
        reports: Vec<DeliveryReport>,
        sinks: Vec<SinkHealth>,
        inputs: &mut VecDeque<RoomInput>,
    ) {
        let meters = self.meters.metrics.alerts();
        for report in reports {
            figures::count_end(meters, &report, &self.engine, self.courier.now_ms());
            self.database
                .note(rows::of_report(&report, self.courier.now_ms()));
            self.happened.extend(published::of_report(&report));
            // An error means that nobody listens.
            let _ = self.inbox.reports.send(report.clone());
            inputs.push_back(RoomInput::Alert(AlertEvent::Delivery(report)));
        }
        for health in sinks {
            inputs.push_back(RoomInput::Alert(AlertEvent::Sink(health)));
        }
    }

    fn note_durability(&mut self, not_durable: Option<&NotDurable>) {
        let Some(reason) = not_durable else {
            self.is_refused = false;
            return;
        };
        if !std::mem::replace(&mut self.is_refused, true) {
            tracing::error!(
                error = %reason,
                "alert journal not written: what is sent now may be sent again after a restart"
            );
        }
    }
}

/// What one moment leads to beside deliveries.
#[derive(Default)]
struct Moment {
    rows: Vec<JournalRow>,
    happened: Vec<HistoryRow>,
    done: Vec<(u64, Result<AlertDone, AlertCommandError>)>,
}
