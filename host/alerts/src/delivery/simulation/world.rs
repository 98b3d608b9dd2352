//! The world around one schedule: its clock, its agenda, its disk, and its crashes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use router_core::jitter::Jitter;

use super::{
    Outcome,
    check::Model,
    engine::{Engine, is_per_alert},
    property::DeliveryProperty,
    receivers::Mood,
};
use crate::{
    DeliveryId,
    delivery::{
        Attempt, DeliveryOrder, DeliveryRow, DeliveryRowKey, RowChange, Schedule, ScheduleEffects,
        ScheduleEvent, ScheduleLimits, SinkSchedule, SinkTable, WaitingDelivery,
        planted::{PlantedBug, PlantedBugs},
    },
    notice::{DeliveryError, Receipt},
};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// When a simulation begins, in milliseconds since 1970.
const EPOCH_MS: u64 = 1_800_000_000_000;
/// Steps after which it is taken to be in a busy loop.
const STEPS_MAX: u64 = 30_000;
/// How long a router is away after a crash: longer than a message is on its way.
const AWAY_MS: u64 = 150;

#[derive(Debug)]
enum Item {
    Act,
    Arrive(Box<Attempt>),
    /// How an attempt ended, as the life of the router hears it that made it.
    Answer(u64, DeliveryId, u32, Result<Option<Receipt>, DeliveryError>),
    Mood(&'static str),
    Operator,
    Reload,
    Calm,
    ResolveAll,
    LateRetry,
    End,
}

pub(super) struct DeliveryWorld {
    dice: Jitter,
    pub(super) now_ms: u64,
    schedule: Schedule,
    disk: BTreeMap<DeliveryRowKey, DeliveryRow>,
    engine: Engine,
    agenda: BTreeMap<(u64, u64), Item>,
    sequence: u64,
    life: u64,
    moods: BTreeMap<&'static str, Mood>,
    table: SinkTable,
    generation: u64,
    limits: ScheduleLimits,
    bugs: PlantedBugs,
    is_calm: bool,
    is_over: bool,
    late_retry: Option<DeliveryId>,
    model: Model,
    seen: BTreeMap<&'static str, u64>,
    broken: Option<(DeliveryProperty, String)>,
    recorded: usize,
    log: VecDeque<String>,
    steps: u64,
}

const SINKS: [&str; 4] = ["a", "b", "c", "d"];

fn table(dice: &mut Jitter, generation: u64, at_once: &[u32; 4]) -> SinkTable {
    let fallbacks = [Some("b"), Some("c"), None, None];
    let intervals_ms = [500, 1_000, 50, 1_000];
    let settings = |at: usize| SinkSchedule {
        sink: SINKS[at].into(),
        interval_ms: intervals_ms[at],
        at_once_max: at_once[at],
        fallback: fallbacks[at].map(Arc::from),
        is_per_alert: is_per_alert(SINKS[at]),
        generation,
    };
    dice.next();
    SinkTable::new((0..4).map(settings)).expect("the fallbacks end")
}

impl DeliveryWorld {
    pub(super) fn new(seed: u64, planted: Option<PlantedBug>, recorded: usize) -> Self {
        let mut dice = Jitter::new(seed ^ 0x0de1_17e5);
        let bugs = PlantedBugs { planted };
        let limits = ScheduleLimits {
            dead_max: 4,
            in_flight_max: 5,
            in_flight_kept: 1,
            ..ScheduleLimits::default()
        };
        let table = table(&mut dice, 1, &[2, 3, 1, 2]);
        let now_ms = EPOCH_MS;
        let (schedule, effects) =
            Schedule::with_bugs(now_ms, &table, limits, seed, std::iter::empty(), bugs);
        let mut world = Self {
            now_ms,
            schedule,
            disk: BTreeMap::new(),
            engine: Engine::new(&mut dice),
            agenda: BTreeMap::new(),
            sequence: 0,
            life: 1,
            moods: BTreeMap::new(),
            model: Model::new(table.clone(), limits),
            table,
            generation: 1,
            limits,
            bugs,
            is_calm: false,
            is_over: false,
            late_retry: None,
            seen: BTreeMap::new(),
            broken: None,
            recorded,
            log: VecDeque::new(),
            steps: 0,
            dice,
        };
        world.keep(effects.changes);
        world.begin();
        world
    }

    fn begin(&mut self) {
        for sink in SINKS {
            self.moods.insert(sink, Mood::Works);
            let in_ms = self.dice.next() % (5 * MINUTE_MS);
            self.later(in_ms, Item::Mood(sink));
        }
        self.later(0, Item::Act);
        for _ in 0..3 {
            let in_ms = self.dice.next() % (2 * HOUR_MS);
            self.later(in_ms, Item::Operator);
        }
        let in_ms = self.dice.next() % (2 * HOUR_MS);
        self.later(in_ms, Item::Reload);
        let long_ms = if self.dice.next().is_multiple_of(5) {
            (20 + self.dice.next() % 90) * HOUR_MS
        } else {
            0
        };
        let calm_ms = HOUR_MS + long_ms;
        self.later(calm_ms, Item::Calm);
        self.later(calm_ms + 5 * MINUTE_MS, Item::ResolveAll);
        self.later(calm_ms + 200 * HOUR_MS, Item::LateRetry);
        self.later(calm_ms + 200 * HOUR_MS + MINUTE_MS, Item::End);
    }

    pub(super) fn run(mut self) -> Outcome {
        while self.broken.is_none() && !self.is_over && self.advance() {}
        Outcome {
            broken: self.broken,
            log: self.log.into(),
            seen: self.seen,
            steps: self.steps,
        }
    }

    fn advance(&mut self) -> bool {
        if self.steps > STEPS_MAX {
            self.fail((DeliveryProperty::NotIdle, "busy loop".to_owned()));
            return false;
        }
        let item_ms = self.agenda.first_key_value().map(|((at_ms, _), _)| *at_ms);
        let Some(item_ms) = item_ms else {
            return false;
        };
        if let Some(wake_ms) = self.schedule.next_wake()
            && wake_ms < item_ms
        {
            self.now_ms = self.now_ms.max(wake_ms);
            self.feed(ScheduleEvent::Tick, &[]);
            let is_past = |wake_ms: u64| wake_ms <= self.now_ms;
            if self.schedule.next_wake().is_some_and(is_past) {
                let how = "a wake time stays in the past".to_owned();
                self.fail((DeliveryProperty::NotIdle, how));
            }
            return true;
        }
        self.now_ms = self.now_ms.max(item_ms);
        if let Some((_, item)) = self.agenda.pop_first() {
            self.happen(item);
        }
        true
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Act => self.act(),
            Item::Arrive(attempt) => self.model.arrive(&attempt),
            Item::Answer(life, delivery, attempt, result) => {
                if life == self.life {
                    let event = ScheduleEvent::Ended {
                        delivery,
                        attempt,
                        result,
                    };
                    self.feed(event, &[]);
                }
            }
            Item::Mood(sink) => self.change_mood(sink),
            Item::Operator => self.operate(),
            Item::Reload => self.reload(),
            Item::Calm => self.calm_down(),
            Item::ResolveAll => {
                for at in 0..self.engine.alerts.len() {
                    let orders = self.engine.resolve(self.now_ms, at);
                    self.feed(ScheduleEvent::Ordered(orders.clone()), &orders);
                }
            }
            Item::LateRetry => {
                let dead = self.schedule.dead_letters().next();
                if let Some(dead) = dead {
                    let id = dead.delivery.id.clone();
                    self.retry(id.clone());
                    self.late_retry = Some(id);
                    self.saw("sent again by an operator");
                }
            }
            Item::End => self.end(),
        }
    }

    fn act(&mut self) {
        if self.is_calm {
            return;
        }
        let before = self.engine.clone();
        let orders = self.engine.act(self.now_ms, &mut self.dice);
        if !orders.is_empty() && !self.feed(ScheduleEvent::Ordered(orders.clone()), &orders) {
            // The record was never written: neither engine nor schedule knows of it.
            self.engine = before;
        }
        let in_ms = match self.dice.next() % 4 {
            0 => 0,
            1 => self.dice.next() % 1_000,
            _ => self.dice.next() % (2 * MINUTE_MS),
        };
        if self.now_ms < EPOCH_MS + HOUR_MS {
            self.later(in_ms, Item::Act);
        }
    }

    fn change_mood(&mut self, sink: &'static str) {
        if self.is_calm {
            return;
        }
        let mood = Mood::draw(&mut self.dice);
        self.note(|| format!("{sink} {mood:?}"));
        self.moods.insert(sink, mood);
        let for_ms = self.dice.next() % (15 * MINUTE_MS);
        // A long outage keeps what it began with.
        if self.now_ms < EPOCH_MS + HOUR_MS {
            self.later(for_ms, Item::Mood(sink));
        }
    }

    fn operate(&mut self) {
        let waiting = self
            .schedule
            .waiting(self.now_ms)
            .map(|one| one.delivery.id.clone());
        let dead = self
            .schedule
            .dead_letters()
            .map(|one| one.delivery.id.clone());
        let ids: Vec<DeliveryId> = waiting.chain(dead).collect();
        if !ids.is_empty() {
            let at = self.dice.next() as usize % ids.len();
            self.retry(ids[at].clone());
        }
    }

    fn retry(&mut self, delivery: DeliveryId) {
        let by = "somebody".to_owned();
        self.feed(ScheduleEvent::Retry { delivery, by }, &[]);
    }

    fn reload(&mut self) {
        self.generation += 1;
        self.table = table(&mut self.dice, self.generation, &[2, 3, 1, 2]);
        self.feed(ScheduleEvent::Configured(self.table.clone()), &[]);
    }

    fn calm_down(&mut self) {
        self.is_calm = true;
        for sink in SINKS {
            self.moods.insert(sink, Mood::Works);
        }
        self.reload();
    }

    fn end(&mut self) {
        let retried = self.late_retry.take();
        if let Err(broken) = self.model.at_the_end(self.now_ms, retried.as_ref()) {
            self.fail(broken);
        }
        self.is_over = true;
    }

    /// One step, with what the engine ordered in it. False where the router crashed before it was on disk.
    fn feed(&mut self, event: ScheduleEvent, orders: &[DeliveryOrder]) -> bool {
        self.steps += 1;
        let fed = event.clone();
        self.note(|| format!("{fed:?}"));
        let before: Vec<WaitingDelivery> = self.schedule.waiting(self.now_ms).collect();
        let mut effects = ScheduleEffects::default();
        self.schedule.step(self.now_ms, event, &mut effects);
        let crash = match (self.is_calm, self.dice.next() % 200) {
            (false, at @ 0..4) => Some(at),
            _ => None,
        };
        if crash == Some(0) {
            self.saw("crash before the record");
            if matches!(fed, ScheduleEvent::Configured(_)) {
                // The next life reads the file.
                let checked = self.model.ordered(self.now_ms, &fed, orders, &before);
                self.take(checked);
            }
            self.restart();
            return false;
        }
        let checked = self.model.ordered(self.now_ms, &fed, orders, &before);
        self.take(checked);
        self.apply(effects, crash);
        true
    }

    /// Does what a step decided, and checks it.
    fn apply(&mut self, effects: ScheduleEffects, crash: Option<u64>) {
        let ScheduleEffects {
            changes,
            attempts,
            reports,
            ..
        } = effects;
        self.keep(changes);
        for report in &reports {
            self.note(|| {
                format!(
                    "  {} {} {:?}",
                    report.sink, report.delivery, report.progress
                )
            });
            self.engine.hear(report);
            let checked = self.model.report(self.now_ms, report, &mut self.seen);
            self.take(checked);
        }
        let waiting: Vec<WaitingDelivery> = self.schedule.waiting(self.now_ms).collect();
        if crash == Some(1) {
            self.saw("crash before the attempt");
            return self.restart();
        }
        for attempt in attempts {
            let checked = self.model.attempt(self.now_ms, &attempt, &waiting);
            self.take(checked);
            self.send(attempt);
        }
        let checked = self.model.settled(self.now_ms, &self.schedule, &waiting);
        self.take(checked);
        if crash == Some(2) && !self.model.is_quiet() {
            self.saw("crash before the answer");
            self.restart();
        } else if crash == Some(3) {
            self.saw("crash before the receipt");
            self.restart();
        }
    }

    fn send(&mut self, attempt: Attempt) {
        let mood = SINKS.iter().find(|sink| ***sink == *attempt.delivery.sink);
        let mood = mood.and_then(|sink| self.moods.get(sink)).copied();
        let fate = mood.unwrap_or(Mood::Works).fate(&attempt, &mut self.dice);
        if let Some((in_ms, result)) = fate.answer {
            let id = attempt.delivery.id.clone();
            let answer = Item::Answer(self.life, id, attempt.attempt, result);
            self.later(in_ms, answer);
        }
        if let Some(in_ms) = fate.arrives_ms {
            self.later(in_ms, Item::Arrive(Box::new(attempt)));
        }
    }

    /// The router is killed and started again with what is on disk.
    fn restart(&mut self) {
        self.note(|| "crash".to_owned());
        self.life += 1;
        self.model.crash();
        let arrivals_ms = self.now_ms + AWAY_MS;
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > arrivals_ms {
                break;
            }
            let (at_ms, item) = (entry.key().0, entry.remove());
            self.now_ms = self.now_ms.max(at_ms);
            match item {
                Item::Arrive(attempt) => self.model.arrive(&attempt),
                Item::Answer(..) => {}
                other => {
                    self.sequence += 1;
                    self.agenda.insert((arrivals_ms + 1, self.sequence), other);
                }
            }
        }
        self.now_ms = arrivals_ms;
        let kept: Vec<DeliveryRow> = self.disk.values().cloned().collect();
        let seed = self.dice.next();
        let (schedule, effects) =
            Schedule::with_bugs(self.now_ms, &self.table, self.limits, seed, kept, self.bugs);
        self.schedule = schedule;
        self.apply(effects, None);
    }

    fn keep(&mut self, changes: Vec<RowChange>) {
        for change in changes {
            match change {
                RowChange::Put(row) => {
                    // As the journal does it.
                    let text = serde_json::to_string(&row).expect("a row is texts and numbers");
                    let row = serde_json::from_str(&text).expect("it was written so");
                    let row: DeliveryRow = row;
                    self.disk.insert(row.key.clone(), row);
                }
                RowChange::Remove(key) => {
                    self.disk.remove(&key);
                }
            }
        }
    }

    fn later(&mut self, in_ms: u64, item: Item) {
        self.sequence += 1;
        self.agenda
            .insert((self.now_ms + in_ms, self.sequence), item);
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_insert(0) += 1;
    }

    fn take(&mut self, checked: Result<(), (DeliveryProperty, String)>) {
        if let Err(broken) = checked {
            self.fail(broken);
        }
    }

    fn fail(&mut self, (property, how): (DeliveryProperty, String)) {
        if self.broken.is_none() {
            let at_ms = self.now_ms - EPOCH_MS;
            self.broken = Some((property, format!("at {at_ms} ms: {how}")));
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.recorded == 0 || self.broken.is_some() {
            return;
        }
        if self.log.len() == self.recorded {
            self.log.pop_front();
        }
        let mut line = line();
        line.truncate(line.floor_char_boundary(400));
        self.log
            .push_back(format!("{:>9} {line}", self.now_ms - EPOCH_MS));
    }
}
