//! What is checked after every step: the engine's alerts against the oracle, and each delivery against a book of who has heard what.

mod deliveries;
mod in_time;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    level::Expected,
    property::Property,
    world::{Context, HOUR, MIN, Muffled, S, World},
};
use crate::{
    alert::{Alert, AlertState},
    condition::Severity,
    delivery::Delivery,
    engine::ABOUT_TO_FIRE_MS,
    event::{Finding, Irregularity},
    history::MutedBy,
    identity::{AlertId, AlertRef},
    notice::LISTED_MAX,
    record::RecordChange,
};

type Broken = (Property, String);
/// Sink, condition and firing.
type Whom = (Arc<str>, usize, u32);

/// What one sink has heard of one firing.
#[derive(Debug, Clone)]
struct Entry {
    last_ms: u64,
    severity: Severity,
    /// When it was called last: at first, again, or because escalation began anew.
    called_ms: u64,
    /// The delivery that it first heard by.
    delivery: String,
    refused: bool,
    closed: bool,
    over_ms: Option<u64>,
    /// The beginning of escalation that it last heard in, and how often it was called since.
    epoch: u32,
    calls: u32,
    /// How often the alert had been acknowledged when it last heard.
    acks: u32,
}

/// What mutes an alert, as the oracle has it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Muting {
    Settling,
    Silence,
    Window,
    Fleet,
}

/// What the book has of one condition beside who heard of it.
#[derive(Debug, Clone, Default)]
struct Page {
    epoch: u32,
    acks: u32,
    begun_ms: u64,
    was_urgent: bool,
    /// The sinks of the chain as it was when escalation began.
    chain: Option<BTreeSet<Arc<str>>>,
    steps: u32,
    muted: Option<Muting>,
    muted_before: Option<Muting>,
    unmuted_ms: u64,
    last_ms: u64,
}

/// See the module.
pub(super) struct Book {
    heard: BTreeMap<Whom, Entry>,
    groups: BTreeMap<(Arc<str>, Arc<str>), u64>,
    pages: Vec<Page>,
    silence_ended_ms: u64,
}

impl Book {
    pub(super) fn new(levels: usize) -> Self {
        Self {
            heard: BTreeMap::new(),
            groups: BTreeMap::new(),
            pages: vec![Page::default(); levels],
            silence_ended_ms: 0,
        }
    }

    pub(super) fn acknowledged(&mut self, n: usize) {
        self.pages[n].acks += 1;
    }

    pub(super) fn silence_ended(&mut self, now_ms: u64) {
        self.silence_ended_ms = now_ms;
    }

    fn of<'a>(
        delivery: &'a Delivery,
        by_id: &'a BTreeMap<AlertId, usize>,
    ) -> impl Iterator<Item = Whom> + 'a {
        delivery.news.iter().filter_map(|about| {
            let n = *by_id.get(&about.alert)?;
            Some((delivery.sink.clone(), n, about.firing))
        })
    }

    pub(super) fn refused(&mut self, delivery: &Delivery, by_id: &BTreeMap<AlertId, usize>) {
        for whom in Self::of(delivery, by_id) {
            if let Some(entry) = self.heard.get_mut(&whom)
                && entry.delivery == delivery.id.as_str()
            {
                entry.refused = true;
            }
        }
    }

    pub(super) fn cancelled(&mut self, delivery: &Delivery, by_id: &BTreeMap<AlertId, usize>) {
        for whom in Self::of(delivery, by_id) {
            if self
                .heard
                .get(&whom)
                .is_some_and(|entry| entry.delivery == delivery.id.as_str())
            {
                self.heard.remove(&whom);
            }
        }
    }

    pub(super) fn fell_back(
        &mut self,
        delivery: &Delivery,
        by_id: &BTreeMap<AlertId, usize>,
        now_ms: u64,
    ) {
        for (sink, n, firing) in Self::of(delivery, by_id) {
            let Some(entry) = self.heard.get(&(sink, n, firing)) else {
                continue; // It is the end of a firing that it says.
            };
            let entry = Entry {
                last_ms: now_ms,
                refused: false,
                closed: false,
                over_ms: None,
                severity: delivery.severity,
                epoch: self.pages[n].epoch,
                acks: self.pages[n].acks,
                ..entry.clone()
            };
            let spare: Whom = ("spare".into(), n, firing);
            // Who hears of a firing after its end is to hear the end again.
            let known = self.heard.entry(spare).or_insert(entry);
            (known.closed, known.over_ms) = (false, None);
        }
    }
}

impl World {
    pub(super) fn check(
        &mut self,
        context: Context,
        deliveries: &[Arc<Delivery>],
        findings: Option<&[Finding]>,
    ) -> Result<(), Broken> {
        let now_ms = self.now_ms;
        let since_start_ms = now_ms - self.started_ms;
        let has_answered = |rule: usize| self.rounds[rule].has_answered || !self.asked[rule];
        self.settled |= since_start_ms >= MIN || (has_answered(0) && has_answered(1));
        let before = self.silences.len();
        self.silences.retain(|(_, _, ends_ms)| *ends_ms > now_ms);
        if self.silences.len() < before {
            self.book.silence_ended(now_ms);
        }
        for n in 0..self.levels.len() {
            self.check_level(n, context)?;
            self.begin(n);
        }
        // What goes at once takes with it what waits in the same group.
        let mut groups = BTreeMap::new();
        for delivery in deliveries {
            let is_urgent = self.check_delivery(delivery)?;
            let group = (delivery.sink.clone(), delivery.group_key.clone());
            *groups.entry(group).or_insert(false) |= is_urgent;
        }
        for (group, is_urgent) in groups {
            self.check_distance(&group, is_urgent)?;
        }
        for n in 0..self.levels.len() {
            self.check_heard(n)?;
        }
        self.check_closed()?;
        if let Some(findings) = findings {
            self.check_audit(findings)?;
            self.check_memory()?;
        }
        let wake_ms = self.engine.next_wake();
        if wake_ms <= now_ms {
            return Err((
                Property::WakeHonest,
                format!("wakes at {wake_ms}, now {now_ms}"),
            ));
        }
        Ok(())
    }

    fn check_level(&self, n: usize, context: Context) -> Result<(), Broken> {
        let level = &self.levels[n];
        let alert = self.engine.alert(self.ids[n]);
        let state = alert.map(|alert| &alert.state);
        let agrees = match level.expected {
            Expected::Over => matches!(state, None | Some(AlertState::Resolved { .. })),
            Expected::Pending => state == Some(&AlertState::Pending),
            Expected::Firing => state == Some(&AlertState::Firing),
            Expected::Acknowledged => matches!(state, Some(AlertState::Acknowledged { .. })),
        };
        let how = || format!("k{n} is {state:?}, and should be {level:?}");
        if !agrees {
            let is_gone = matches!(state, None | Some(AlertState::Resolved { .. }));
            let is_acknowledged = matches!(state, Some(AlertState::Acknowledged { .. }));
            let property = match level.expected {
                Expected::Firing if is_acknowledged && level.raised => Property::RaiseFiresAnew,
                Expected::Firing if is_acknowledged && level.link_outdated => Property::LinksOnce,
                Expected::Firing if is_acknowledged => Property::AckExpires,
                Expected::Acknowledged if state == Some(&AlertState::Firing) => Property::AckHolds,
                Expected::Over => Property::LevelsDecide,
                _ if is_gone && context == Context::Part => Property::WholeRoundsEnd,
                _ if is_gone && context == Context::Other => Property::OnlyAnswersEnd,
                _ if is_gone && level.flaps => Property::FlappingHeld,
                _ => Property::LevelsDecide,
            };
            return Err((property, how()));
        }
        if let Some(alert) = alert.filter(|alert| alert.is_open()) {
            if alert.firing != level.firing {
                return Err((Property::FiringsGrow, how()));
            }
            if alert.severity != level.severity || alert.flapping != level.flaps {
                return Err((Property::LevelsDecide, how()));
            }
        }
        Ok(())
    }

    fn muting(&self, n: usize) -> Option<Muting> {
        self.muting_by_itself(n).or_else(|| {
            let is_of_fleet = |other: usize| {
                let level = &self.levels[other];
                let is_silent = self.now_ms - self.rounds[level.rule].complete_ms >= MIN;
                let is_about_to = level.expected == Expected::Pending
                    && level.for_ms <= ABOUT_TO_FIRE_MS
                    && !is_silent;
                !level.has_instance
                    && (level.is_open() || is_about_to)
                    && level.severity == Severity::P1
                    && self.muting_by_itself(other).is_none()
            };
            let has_one = || (0..self.levels.len()).any(is_of_fleet);
            (self.levels[n].has_instance && has_one()).then_some(Muting::Fleet)
        })
    }

    fn muting_by_itself(&self, n: usize) -> Option<Muting> {
        let level = &self.levels[n];
        let is_muffled = self.silences.iter().any(|(_, muffled, _)| match muffled {
            Muffled::Key(key) => *key == n,
            Muffled::Name(name) => *name == level.name,
            Muffled::Severity(severity) => *severity == level.severity,
        });
        if !self.settled && level.severity != Severity::P1 {
            Some(Muting::Settling)
        } else if is_muffled {
            Some(Muting::Silence)
        } else {
            let window = self.window.as_ref();
            let until_ms = window.and_then(|window| window.active_until(self.now_ms));
            until_ms.map(|_| Muting::Window)
        }
    }

    /// Keeps the book's page of a condition.
    fn begin(&mut self, n: usize) {
        let now_ms = self.now_ms;
        let muting = if self.levels[n].is_open() {
            self.muting(n)
        } else {
            None
        };
        let level = &mut self.levels[n];
        let page = &mut self.book.pages[n];
        if std::mem::take(&mut level.anew) {
            page.epoch += 1;
            (page.begun_ms, page.chain, page.steps) = (now_ms, None, 0);
            page.was_urgent = false;
        }
        page.was_urgent |= level.severity == Severity::P1;
        if let Some(muting) = muting {
            page.muted_before = Some(muting);
            *self.seen.entry(seen_as(muting)).or_insert(0) += 1;
        } else if page.muted.is_some() {
            page.unmuted_ms = now_ms;
        }
        page.muted = muting;
        if page.chain.is_none() && muting.is_none() && level.expected == Expected::Firing {
            let takes = level.severity.is_urgent();
            let steps = self.settings.escalations.get("chain").filter(|_| takes);
            page.steps = steps.map_or(0, |steps| steps.len() as u32);
            let sinks = steps.into_iter().flatten().flat_map(|step| &step.sinks);
            page.chain = Some(sinks.cloned().collect());
        }
    }
}

fn seen_as(muting: Muting) -> &'static str {
    match muting {
        Muting::Settling => "settling",
        Muting::Silence => "silenced",
        Muting::Window => "in a window",
        Muting::Fleet => "muted by the fleet",
    }
}

/// What is to blame where something comes late: what muted it until then, or that which is named.
fn late(page: &Page, ready_ms: u64, otherwise: Property) -> Property {
    match page.muted_before {
        _ if page.unmuted_ms < ready_ms || page.unmuted_ms == 0 => otherwise,
        Some(Muting::Silence) => Property::SilencesEnd,
        Some(Muting::Window) => Property::WindowsByTheClock,
        _ => otherwise,
    }
}
