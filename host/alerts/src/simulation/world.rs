//! One simulated world: facts that hold and cease, rules that answer about them in pages, late, partly or not at all, people,
//! receivers, reloads and restarts, on fake time.

mod mishaps;
mod people;
mod scenery;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use router_core::InstanceId;

use super::{
    Outcome,
    dice::Dice,
    level::{Expected, Level, Rounds},
    property::Property,
    zones::{PLACES, Sunday},
};
use crate::{
    condition::{Condition, Severity},
    delivery::{
        Delivery, DeliveryOrder, DeliveryProgress, DeliveryReport, FallbackCause, Precedence,
    },
    engine::AlertEngine,
    event::{
        AlertAction, AlertCommand, AlertCommandError, AlertDone, AlertEvent, AlertVerb,
        RelayedVerb, RuleAnswer,
    },
    facts::FleetPage,
    identity::{AlertId, AlertRef, DeliveryId},
    matcher::{Matcher, Pattern},
    planted::Planted,
    record::Record,
    settings::{AlertRoute, AlertSettings, EscalationStep, Grouping, SinkSettings},
    silence::{Silence, SilenceId},
    window::MaintenanceWindow,
};
use scenery::{key, levels, rule_name, settings, storm_condition};

pub(super) const S: u64 = 1_000;
pub(super) const MIN: u64 = 60 * S;
pub(super) const HOUR: u64 = 60 * MIN;
pub(super) const DAY: u64 = 24 * HOUR;
/// 1 December 2026.
const EPOCH_MS: u64 = 1_796_083_200_000;
/// Conditions of a storm, more than a notice lists.
const STORM: u64 = 130;
const NAMES: [&str; 4] = ["crash", "slow", "disk", "fleet"];

/// What is about to happen.
#[derive(Debug, Clone)]
enum Due {
    Answer { rule: usize, page: u32 },
    Toggle(usize),
    People,
    Attempt(DeliveryId),
    Restart,
    Reload,
    RuleBack,
    Storm,
}

/// What a silence of the world matches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Muffled {
    Key(usize),
    Name(&'static str),
    Severity(Severity),
}

/// What became of a step besides its deliveries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Context {
    /// An answer that completes its round.
    Complete,
    /// An answer that does not.
    Part,
    /// Something else.
    Other,
}

pub(super) struct World {
    dice: Dice,
    planted: Option<Planted>,
    recorded: usize,
    pub(super) engine: AlertEngine,
    pub(super) now_ms: u64,
    end_ms: u64,
    pub(super) started_ms: u64,
    pub(super) restarted: bool,
    pub(super) settled: bool,
    pub(super) levels: Vec<Level>,
    pub(super) ids: Vec<AlertId>,
    pub(super) by_id: BTreeMap<AlertId, usize>,
    pub(super) rounds: [Rounds; 2],
    pub(super) asked: [bool; 2],
    pages: u32,
    pace_ms: u64,
    queue: BTreeMap<(u64, u64), Due>,
    sequence: u64,
    pub(super) settings: AlertSettings,
    pub(super) silences: Vec<(SilenceId, Muffled, u64)>,
    pub(super) window: Option<Sunday>,
    pub(super) records: Vec<Record>,
    unattempted: BTreeMap<DeliveryId, Arc<Delivery>>,
    storm: bool,
    commands: u64,
    pub(super) book: super::check::Book,
    pub(super) seen: BTreeMap<&'static str, u64>,
    log: Vec<String>,
    pub(super) steps: u64,
    trace: u64,
}

impl World {
    pub(super) fn new(
        seed: u64,
        planted: Option<Planted>,
        recorded: usize,
        days: Option<u64>,
    ) -> Self {
        let mut dice = Dice::new(seed);
        let is_year = days.is_some();
        let window = (is_year || dice.chance(25)).then(|| Sunday {
            place: &PLACES[seed as usize % 3],
            minute: dice.between(1, 16) as i64 * 15,
            for_ms: dice.between(1, 8) * 30 * MIN,
        });
        let (begin_ms, days) = match (&window, days) {
            (_, Some(days)) => (EPOCH_MS, days),
            (Some(window), None) => (window.place.near_change(&mut dice), 10),
            (None, None) => (EPOCH_MS + dice.between(0, 300) * DAY, dice.between(1, 2)),
        };
        let settings = settings(&mut dice, window.as_ref());
        let pages = if dice.chance(30) && !is_year { 3 } else { 1 };
        let levels = levels(&mut dice, pages);
        let ids: Vec<_> = (0..levels.len()).map(|n| AlertId::of(&key(n))).collect();
        let mut engine = AlertEngine::new(settings.clone(), begin_ms);
        engine.bugs.planted = planted;
        let mut world = Self {
            planted,
            recorded,
            engine,
            now_ms: begin_ms,
            end_ms: begin_ms + days * DAY,
            started_ms: begin_ms,
            restarted: false,
            settled: false,
            by_id: ids.iter().enumerate().map(|(n, id)| (*id, n)).collect(),
            ids,
            rounds: [Rounds::default(), Rounds::default()],
            asked: [true; 2],
            pages,
            pace_ms: if days > 30 || dice.chance(60) {
                50 * S
            } else {
                10 * S
            },
            queue: BTreeMap::new(),
            sequence: 0,
            settings,
            silences: Vec::new(),
            window,
            records: Vec::new(),
            unattempted: BTreeMap::new(),
            storm: false,
            commands: 0,
            book: super::check::Book::new(levels.len()),
            levels,
            seen: BTreeMap::new(),
            log: Vec::new(),
            steps: 0,
            trace: 0,
            dice,
        };
        world.schedule_all();
        world
    }

    fn schedule_all(&mut self) {
        for level in 0..self.levels.len() {
            let after_ms = self.dice.between(5, 3_600) * S;
            self.schedule(after_ms, Due::Toggle(level));
        }
        for rule in 0..2 {
            self.rounds[rule].complete_ms = self.now_ms;
            self.schedule(S + rule as u64 * 3 * S, Due::Answer { rule, page: 0 });
        }
        self.schedule(20 * MIN, Due::People);
        // A router that is let run for weeks keeps what it reckoned at its start.
        let is_year = self.end_ms - self.started_ms > 30 * DAY;
        if self.window.is_none() || is_year || self.dice.chance(40) {
            let after_ms = self.dice.between(40, 300) * MIN;
            self.schedule(after_ms, Due::Restart);
            self.schedule(2 * HOUR, Due::Reload);
        }
        if self.dice.chance(10) {
            self.schedule(3 * HOUR, Due::Storm);
        }
    }

    fn schedule(&mut self, after_ms: u64, due: Due) {
        self.sequence += 1;
        self.queue
            .insert((self.now_ms + after_ms, self.sequence), due);
    }

    pub(super) fn run(mut self) -> Outcome {
        let mut broken = self
            .step(AlertEvent::JournalRead(Vec::new()), Context::Other)
            .err();
        while broken.is_none() {
            let wake_ms = self.engine.next_wake();
            let Some((&(due_ms, sequence), _)) = self.queue.first_key_value() else {
                break;
            };
            if wake_ms.min(due_ms) > self.end_ms {
                break;
            }
            let result = if wake_ms < due_ms {
                self.now_ms = wake_ms;
                self.step(AlertEvent::Tick, Context::Other)
            } else {
                self.now_ms = due_ms;
                match self.queue.remove(&(due_ms, sequence)) {
                    Some(due) => self.happen(due),
                    None => Ok(()),
                }
            };
            broken = result.err();
        }
        Outcome {
            broken: broken.map(|(property, how)| {
                let at_ms = self.now_ms - EPOCH_MS.min(self.now_ms);
                (property, format!("at {} s: {how}", at_ms / S))
            }),
            log: self.log,
            seen: self.seen,
            trace: self.trace,
            steps: self.steps,
        }
    }

    fn happen(&mut self, due: Due) -> Result<(), (Property, String)> {
        match due {
            Due::Answer { rule, page } => self.answer(rule, page),
            Due::Toggle(level) => {
                self.toggle(level);
                Ok(())
            }
            Due::People => self.people(),
            Due::Attempt(id) => self.attempt(&id),
            Due::Restart => self.restart(),
            Due::Reload => self.reload(),
            Due::RuleBack => self.rule_back(),
            Due::Storm => {
                self.storm = !self.storm;
                let after_ms = self.dice.between(1, 300) * MIN;
                self.schedule(after_ms, Due::Storm);
                Ok(())
            }
        }
    }

    fn toggle(&mut self, level: usize) {
        let is_year = self.end_ms - self.started_ms > 30 * DAY;
        let (dice, one) = (&mut self.dice, &mut self.levels[level]);
        one.holds = !one.holds;
        if one.holds {
            one.given = match dice.between(0, 9) {
                0 => Severity::P1,
                1 => Severity::P2,
                2 => Severity::P4,
                _ => one.given,
            };
        } else if dice.chance(15) {
            // It only becomes more or less severe.
            one.holds = true;
            one.given = dice.pick(&Severity::ALL);
        }
        let after_ms = match dice.between(0, 99) {
            0..40 => dice.between(30, 120) * S,
            40..80 => dice.between(2, 60) * MIN,
            _ => dice.between(1, 9) * HOUR,
        };
        // In a year a fact mostly does not hold.
        let pause_ms = if is_year && !one.holds && dice.chance(40) {
            dice.between(1, 240) * HOUR
        } else {
            0
        };
        self.schedule(after_ms + pause_ms, Due::Toggle(level));
    }

    fn answer(&mut self, rule: usize, page: u32) -> Result<(), (Property, String)> {
        let is_last = page + 1 == self.pages;
        if is_last {
            let pace_ms = self.pace_ms;
            self.schedule(pace_ms, Due::Answer { rule, page: 0 });
            if self.dice.chance(1) && self.dice.chance(20) {
                let silent_ms = self.dice.between(1, 40) * MIN;
                self.rounds[rule].silent_until_ms = self.now_ms + silent_ms;
            }
        } else {
            let page = page + 1;
            self.schedule(S, Due::Answer { rule, page });
        }
        let skips = self.pages > 1 && self.dice.chance(4);
        let now_ms = self.now_ms;
        let round = &mut self.rounds[rule];
        if page == 0 {
            round.number += 1;
            round.answered.clear();
            round.named.clear();
        }
        if round.silent_until_ms > now_ms || skips || !self.asked[rule] {
            return Ok(());
        }
        let named: Vec<usize> = (0..self.levels.len())
            .filter(|n| {
                let level = &self.levels[*n];
                level.rule == rule && level.page == page && level.holds
            })
            .collect();
        let mut conditions: Vec<_> = named.iter().map(|n| self.condition(*n)).collect();
        if self.storm && rule == 0 && page == 0 {
            conditions.extend((0..STORM).map(storm_condition));
        }
        for n in &named {
            self.levels[*n].named(now_ms);
        }
        let round = &mut self.rounds[rule];
        round.answered.insert(page);
        round.named.extend(named);
        let number = round.number;
        let mut context = Context::Part;
        if round.answered.len() == self.pages as usize {
            context = Context::Complete;
            (round.complete_ms, round.has_answered) = (now_ms, true);
            let named = std::mem::take(&mut round.named);
            for (n, level) in self.levels.iter_mut().enumerate() {
                if level.rule == rule && !named.contains(&n) {
                    level.not_named(now_ms);
                }
            }
        }
        let answer = RuleAnswer {
            rule: rule_name(rule),
            round: number,
            page: FleetPage {
                number: page,
                count: self.pages,
            },
            conditions,
        };
        self.step(AlertEvent::Answered(answer), context)
    }

    fn condition(&self, n: usize) -> Condition {
        let level = &self.levels[n];
        let instance = format!("i{n}");
        Condition {
            key: key(n),
            name: level.name.to_owned(),
            severity: level.given,
            summary: format!("it is {} o'clock", self.now_ms / HOUR % 24),
            remedy: String::new(),
            runbook_anchor: None,
            instance: level
                .has_instance
                .then(|| InstanceId::parse(&instance).expect("letters and digits are an id")),
            for_ms: level.for_ms,
            attributes: Vec::new(),
        }
    }

    fn step(&mut self, event: AlertEvent, context: Context) -> Result<(), (Property, String)> {
        self.steps += 1;
        if self.recorded > 0 {
            if self.log.len() == self.recorded {
                self.log.remove(0);
            }
            let text: String = format!("{event:?}").chars().take(400).collect();
            self.log
                .push(format!("{} s {text}", (self.now_ms - self.started_ms) / S));
        }
        let mut out = Vec::new();
        self.engine.step(self.now_ms, event, &mut out);
        for level in &mut self.levels {
            level.pass(self.now_ms);
        }
        let (mut deliveries, mut cancelled, mut findings) = (Vec::new(), BTreeSet::new(), None);
        for action in out {
            match action {
                AlertAction::Keep(record) => {
                    for order in &record.orders {
                        match order {
                            DeliveryOrder::Deliver(delivery) => deliveries.push(delivery.clone()),
                            DeliveryOrder::CancelUnattempted(about) => {
                                cancelled.insert(*about);
                            }
                        }
                    }
                    self.records.push(*record);
                }
                AlertAction::CommandDone { result, .. } => self.done(&result),
                AlertAction::Audited {
                    findings: found, ..
                } => findings = Some(found),
                AlertAction::AnswerRefused { reasons, .. } => {
                    return Err((Property::LevelsDecide, format!("refused: {reasons:?}")));
                }
            }
        }
        if self.recorded > 0 {
            for delivery in &deliveries {
                let (sink, occasion) = (&delivery.sink, delivery.occasion.as_str());
                self.log
                    .push(format!("    {sink} {occasion} {:?}", delivery.news));
            }
            self.trace = self.trace.rotate_left(5) ^ self.now_ms ^ deliveries.len() as u64;
        }
        self.check(context, &deliveries, findings.as_deref())?;
        for delivery in deliveries {
            let id = delivery.id.clone();
            let after_ms = if self.dice.chance(15) {
                self.dice.between(1, 10) * MIN // Its sink is down.
            } else {
                self.dice.between(0, 20) * S
            };
            self.schedule(after_ms, Due::Attempt(id.clone()));
            self.unattempted.insert(id, delivery);
        }
        cancelled
            .into_iter()
            .try_for_each(|about| self.cancel(about))
    }
}
