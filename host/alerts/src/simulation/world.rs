//! One simulated world: facts that hold and cease, rules that answer about them in pages, late, partly or not at all, people,
//! receivers, reloads and restarts, on fake time.

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
        AlertAction, AlertCommand, AlertCommandError, AlertDone, AlertEvent, AlertVerb, RuleAnswer,
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

    fn people(&mut self) -> Result<(), (Property, String)> {
        let after_ms = self.dice.between(1, 90) * MIN;
        self.schedule(after_ms, Due::People);
        let n = self.dice.between(0, self.levels.len() as u64 - 1) as usize;
        let alert = self.ids[n];
        let now_ms = self.now_ms;
        match self.dice.between(0, 9) {
            0..5 => {
                if self.levels[n].is_open() {
                    let level = &mut self.levels[n];
                    level.expected = Expected::Acknowledged;
                    level.ack_until_ms = now_ms + self.settings.ack_ttl_ms;
                    self.book.acknowledged(n);
                    *self.seen.entry("acknowledged").or_insert(0) += 1;
                }
                self.command(AlertVerb::Acknowledge {
                    alert,
                    firing: None,
                })
            }
            5 => {
                if self.levels[n].expected == Expected::Acknowledged {
                    self.levels[n].expected = Expected::Firing;
                    self.levels[n].anew = true;
                }
                self.command(AlertVerb::Unacknowledge { alert })
            }
            6 => {
                if self.levels[n].is_open() {
                    self.levels[n].end(now_ms);
                    self.levels[n].closed_by_hand = true;
                    *self.seen.entry("closed by hand").or_insert(0) += 1;
                }
                self.command(AlertVerb::Resolve { alert })
            }
            7 if !self.silences.is_empty() => {
                let (id, ..) = self.silences.remove(0);
                self.book.silence_ended(now_ms);
                self.command(AlertVerb::EndSilence(id))
            }
            _ => self.silence(n),
        }
    }

    fn silence(&mut self, n: usize) -> Result<(), (Property, String)> {
        let muffled = match self.dice.between(0, 9) {
            0..6 => Muffled::Key(n),
            6..9 => Muffled::Name(self.levels[n].name),
            _ => Muffled::Severity(self.levels[n].severity),
        };
        let pattern = |text: &str| vec![Pattern::parse(text).expect("names are patterns")];
        let mut matcher = Matcher::default();
        match muffled {
            Muffled::Key(n) => matcher.key = pattern(&key(n)),
            Muffled::Name(name) => matcher.name = pattern(name),
            Muffled::Severity(severity) => matcher.severity = vec![severity],
        }
        let ends_ms = self.now_ms + self.dice.between(1, 180) * MIN;
        // The number comes with the answer; until then the silence is in force already.
        self.silences.push((SilenceId(0), muffled, ends_ms));
        *self.seen.entry("silences").or_insert(0) += 1;
        self.command(AlertVerb::AddSilence(Silence {
            matcher,
            author: "ada".to_owned(),
            reason: "known".to_owned(),
            starts_ms: self.now_ms,
            ends_ms,
        }))
    }

    fn command(&mut self, verb: AlertVerb) -> Result<(), (Property, String)> {
        self.commands += 1;
        let (id, by) = (self.commands, format!("person {}", self.commands));
        self.step(
            AlertEvent::Command(AlertCommand { id, by, verb }),
            Context::Other,
        )
    }

    fn attempt(&mut self, id: &DeliveryId) -> Result<(), (Property, String)> {
        let Some(delivery) = self.unattempted.remove(id) else {
            return Ok(()); // It was cancelled.
        };
        let is_first = delivery.precedence == Precedence::FirstFiring;
        let progress = match self.dice.between(0, 19) {
            0 if is_first => {
                *self.seen.entry("fallbacks").or_insert(0) += 1;
                self.book.fell_back(&delivery, &self.by_id, self.now_ms);
                DeliveryProgress::FellBack {
                    to: "spare".into(),
                    delivery: id.for_sink("spare"),
                    because: FallbackCause::NotInTime,
                }
            }
            1 if is_first => {
                *self.seen.entry("refused").or_insert(0) += 1;
                self.book.refused(&delivery, &self.by_id);
                DeliveryProgress::DeadLetter {
                    reason: "no".to_owned(),
                    may_have_arrived: false,
                }
            }
            2 | 3 => DeliveryProgress::Delivered { attempt: 1 },
            _ => return Ok(()),
        };
        self.report(&delivery, progress)
    }

    fn report(
        &mut self,
        delivery: &Delivery,
        progress: DeliveryProgress,
    ) -> Result<(), (Property, String)> {
        let report = DeliveryReport {
            delivery: delivery.id.clone(),
            sink: delivery.sink.clone(),
            news: delivery.news.clone(),
            precedence: delivery.precedence,
            group_key: delivery.group_key.clone(),
            progress,
        };
        self.step(AlertEvent::Delivery(report), Context::Other)
    }

    fn cancel(&mut self, about: AlertRef) -> Result<(), (Property, String)> {
        let cancelled: Vec<_> = self
            .unattempted
            .values()
            .filter(|one| {
                one.news == [about]
                    && matches!(
                        one.precedence,
                        Precedence::FirstFiring | Precedence::Reminder
                    )
            })
            .cloned()
            .collect();
        for delivery in cancelled {
            *self.seen.entry("cancelled").or_insert(0) += 1;
            self.unattempted.remove(&delivery.id);
            self.book.cancelled(&delivery, &self.by_id);
            self.report(&delivery, DeliveryProgress::Cancelled)?;
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(), (Property, String)> {
        let after_ms = self.dice.between(20, 1_200) * MIN;
        self.schedule(after_ms, Due::Restart);
        self.check_records()?;
        *self.seen.entry("restarts").or_insert(0) += 1;
        let down_ms = self.dice.between(0, 180) * S;
        self.now_ms += down_ms;
        // What was to happen meanwhile happens now, or not at all.
        let late: Vec<_> = self
            .queue
            .range(..(self.now_ms, 0))
            .map(|(at, _)| *at)
            .collect();
        for (n, at) in late.into_iter().enumerate() {
            if let Some(due) = self.queue.remove(&at) {
                self.schedule(S + n as u64, due);
            }
        }
        let mut engine = AlertEngine::new(self.settings.clone(), self.now_ms);
        engine.bugs.planted = self.planted;
        let journal = match self.dice.between(0, 9) {
            0 => {
                let text = serde_json::to_string(&self.records).expect("records are JSON");
                serde_json::from_str(&text).expect("what was written is read")
            }
            1..5 => {
                self.records = vec![self.engine.snapshot()];
                self.records.clone()
            }
            _ => self.records.clone(),
        };
        self.engine = engine;
        (self.started_ms, self.settled, self.restarted) = (self.now_ms, false, true);
        for level in &mut self.levels {
            level.restart();
        }
        for round in &mut self.rounds {
            round.has_answered = false;
            round.complete_ms = self.now_ms;
            round.answered.clear();
            round.named.clear();
        }
        self.step(AlertEvent::JournalRead(journal), Context::Other)
    }

    fn reload(&mut self) -> Result<(), (Property, String)> {
        let after_ms = self.dice.between(10, 600) * MIN;
        self.schedule(after_ms, Due::Reload);
        if self.dice.chance(20) && self.asked[1] {
            self.asked[1] = false;
            self.settings.rules.pop();
            for level in self.levels.iter_mut().filter(|level| level.rule == 1) {
                if level.expected != Expected::Over {
                    level.end(self.now_ms);
                }
                level.closed_by_hand = false;
            }
            *self.seen.entry("rules removed").or_insert(0) += 1;
            self.schedule(10 * MIN, Due::RuleBack);
        }
        for step in self.settings.escalations.values_mut().flatten() {
            for sink in &mut step.sinks {
                *sink = match sink.as_ref() {
                    "boss" => "other".into(),
                    "other" => "boss".into(),
                    _ => sink.clone(),
                };
            }
        }
        let settings = Box::new(self.settings.clone());
        self.step(AlertEvent::SettingsApplied(settings), Context::Other)
    }

    fn rule_back(&mut self) -> Result<(), (Property, String)> {
        if self.asked[1] {
            return Ok(());
        }
        self.asked[1] = true;
        self.settings.rules.push(rule_name(1));
        let round = &mut self.rounds[1];
        (round.complete_ms, round.has_answered) = (self.now_ms, false);
        round.answered.clear();
        round.named.clear();
        for level in self.levels.iter_mut().filter(|level| level.rule == 1) {
            level.restart();
        }
        let settings = Box::new(self.settings.clone());
        self.step(AlertEvent::SettingsApplied(settings), Context::Other)
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

    fn done(&mut self, result: &Result<AlertDone, AlertCommandError>) {
        if let Ok(AlertDone::Silence(id)) = result
            && let Some(silence) = self.silences.iter_mut().find(|(id, ..)| id.0 == 0)
        {
            silence.0 = *id;
        }
    }
}

pub(super) fn key(n: usize) -> String {
    format!("k{n}")
}

fn rule_name(rule: usize) -> Arc<str> {
    ["first", "second"][rule].into()
}

fn storm_condition(n: u64) -> Condition {
    Condition {
        key: format!("storm{n}"),
        name: "storm".to_owned(),
        severity: Severity::P3,
        summary: String::new(),
        remedy: String::new(),
        runbook_anchor: None,
        instance: None,
        for_ms: 0,
        attributes: Vec::new(),
    }
}

fn levels(dice: &mut Dice, pages: u32) -> Vec<Level> {
    (0..dice.between(4, 9))
        .map(|_| {
            let rule = dice.between(0, 1) as usize;
            let page = dice.between(0, u64::from(pages) - 1) as u32;
            let given = dice.pick(&Severity::ALL);
            let mut level = Level::new(rule, page, dice.pick(&NAMES), given);
            level.has_instance = level.name != "fleet";
            level.for_ms = dice.pick(&[0, 0, 20 * S, 2 * MIN]);
            level
        })
        .collect()
}

/// `pager` takes P1 and P2 one by one, `chat` everything in groups; `boss` or `other` hears by the chain alone, `spare` as a
/// fallback.
fn settings(dice: &mut Dice, window: Option<&Sunday>) -> AlertSettings {
    let sink = |name: &str, grouping| {
        let settings = SinkSettings {
            grouping,
            fallback: None,
        };
        (Arc::from(name), settings)
    };
    let step = |after_ms, sinks: &[&str]| EscalationStep {
        after_ms,
        sinks: sinks.iter().map(|sink| Arc::from(*sink)).collect(),
    };
    let urgent = Matcher {
        severity: vec![Severity::P1, Severity::P2],
        ..Matcher::default()
    };
    let chain = dice.chance(50).then(|| {
        let first_ms = dice.between(5, 20) * MIN;
        vec![
            step(first_ms, &["pager"]),
            step(20 * MIN, &["pager", "boss"]),
        ]
    });
    let maintenance = window.map(|one| {
        let zone = one.place.zone;
        MaintenanceWindow::parse("sunday", &one.at(), one.for_ms, zone, Matcher::default())
    });
    AlertSettings {
        rules: vec![rule_name(0), rule_name(1)],
        sinks: [
            sink("pager", Grouping::None),
            sink("chat", Grouping::Group),
            sink("boss", Grouping::Group),
            sink("other", Grouping::Group),
            sink("spare", Grouping::Group),
        ]
        .into(),
        routes: vec![
            AlertRoute {
                name: "urgent".into(),
                matcher: urgent,
                continues: true,
                sinks: vec!["pager".into()],
                escalation: chain.is_some().then(|| "chain".into()),
            },
            AlertRoute {
                name: "all".into(),
                matcher: Matcher::default(),
                continues: false,
                sinks: vec!["chat".into()],
                escalation: None,
            },
        ],
        escalations: chain
            .map(|steps| ("chain".into(), steps))
            .into_iter()
            .collect(),
        maintenance: maintenance
            .into_iter()
            .map(|window| window.expect("a window on Sundays"))
            .collect(),
        ..AlertSettings::default()
    }
}
