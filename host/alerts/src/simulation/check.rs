//! What is checked after every step: the engine's alerts against the oracle, and each delivery against a book of who has heard what.

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

/// Whether a delivery says of a firing that it is over.
fn says_over(delivery: &Delivery, about: AlertRef) -> bool {
    let (alert, firing) = (about.alert.to_string(), about.firing.to_string());
    let has = |one: &crate::notice::NoticeAlert, name: &str, value: &str| {
        one.attributes.iter().any(|(n, v)| n == name && v == value)
    };
    delivery
        .listed
        .iter()
        .find(|one| has(one, "alert", &alert) && has(one, "firing", &firing))
        .is_some_and(|one| one.resolved_ms.is_some())
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
                !level.has_instance
                    && level.is_open()
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

    /// Returns whether it had to wait for nothing.
    fn check_delivery(&mut self, delivery: &Arc<Delivery>) -> Result<bool, Broken> {
        let how = format!("{delivery:?}");
        if delivery.listed.len() > LISTED_MAX {
            return Err((
                Property::NoticesBounded,
                format!("{} are listed", delivery.listed.len()),
            ));
        }
        if delivery.more > 0 {
            *self.seen.entry("counted").or_insert(0) += 1;
        }
        let mut is_urgent = false;
        for about in &delivery.news {
            let Some(&n) = self.by_id.get(&about.alert) else {
                // The engine's own are repeated too.
                is_urgent |= delivery
                    .listed
                    .iter()
                    .any(|one| one.condition.name != "storm");
                continue; // A storm's, or the engine's own.
            };
            is_urgent |= self.levels[n].severity == Severity::P1;
            if says_over(delivery, *about) {
                self.hear_end(delivery, n, about.firing, &how)?;
            } else {
                is_urgent |= self.hear(delivery, n, about.firing, &how)?;
            }
        }
        Ok(is_urgent)
    }

    fn check_distance(
        &mut self,
        group: &(Arc<str>, Arc<str>),
        is_urgent: bool,
    ) -> Result<(), Broken> {
        let (now_ms, interval_ms) = (self.now_ms, self.settings.group_interval_ms);
        let is_grouped = group.0.as_ref() != "pager";
        let before_ms = self.book.groups.insert(group.clone(), now_ms);
        let is_near = before_ms.is_some_and(|ms| now_ms - ms < interval_ms);
        if is_near && !is_urgent && is_grouped {
            return Err((
                Property::GroupsKeepDistance,
                format!("{group:?} since {before_ms:?}"),
            ));
        }
        Ok(())
    }

    /// Returns whether it waits for no others: somebody is called, or it is more severe than it was.
    fn hear(
        &mut self,
        delivery: &Delivery,
        n: usize,
        firing: u32,
        how: &str,
    ) -> Result<bool, Broken> {
        let now_ms = self.now_ms;
        let level = &self.levels[n];
        let page = &mut self.book.pages[n];
        if let Some(muting) = page.muted {
            let property = match muting {
                Muting::Settling => Property::SettlesFirst,
                Muting::Silence => Property::SilencesMute,
                Muting::Window => Property::WindowsByTheClock,
                Muting::Fleet => Property::InstancesMuted,
            };
            return Err((property, format!("k{n} is muted: {how}")));
        }
        if !level.is_open() || firing != level.firing {
            return Err((Property::ResolveAfterFiring, format!("k{n} is over: {how}")));
        }
        let ready_ms = page.begun_ms.max(page.unmuted_ms);
        page.last_ms = now_ms;
        let whom = (delivery.sink.clone(), n, firing);
        let is_chains_own = matches!(delivery.sink.as_ref(), "boss" | "other");
        let is_of_chain = page
            .chain
            .as_ref()
            .is_some_and(|chain| chain.contains(&delivery.sink));
        let Some(entry) = self.book.heard.get_mut(&whom) else {
            if is_chains_own && !is_of_chain {
                return Err((Property::ChainKept, format!("k{n}: {how}")));
            }
            let is_late = level.severity == Severity::P1 && now_ms > ready_ms && !is_chains_own;
            if is_late {
                let property = late(page, ready_ms, Property::UrgentAtOnce);
                return Err((property, format!("k{n} since {ready_ms}: {how}")));
            }
            let entry = Entry {
                last_ms: now_ms,
                called_ms: now_ms,
                severity: level.severity,
                delivery: delivery.id.as_str().to_owned(),
                refused: false,
                closed: false,
                over_ms: None,
                epoch: page.epoch,
                calls: 0,
                acks: page.acks,
            };
            *self.seen.entry("heard").or_insert(0) += 1;
            self.book.heard.insert(whom, entry);
            return Ok(is_chains_own);
        };
        let is_changed = entry.severity != level.severity;
        let is_acknowledged = level.expected == Expected::Acknowledged && entry.acks != page.acks;
        let is_anew = entry.epoch != page.epoch;
        // The shortest step of any chain here is five minutes; a P2 without one is called once, what is less severe not at all.
        let calls_max = match (page.was_urgent, page.steps, level.severity) {
            (true, ..) => u32::MAX,
            (false, 0, Severity::P2) => 1,
            (false, steps, _) => steps,
        };
        let is_call = level.expected == Expected::Firing
            && now_ms - entry.called_ms >= 5 * MIN
            && entry.calls < calls_max;
        if !(is_changed || is_acknowledged || is_anew || is_call) {
            let since_start_ms = now_ms - self.started_ms;
            let after_restart = self.restarted && since_start_ms < 3 * MIN;
            let property = if after_restart {
                Property::RestartPagesOnce
            } else {
                Property::HeardOnce
            };
            return Err((property, format!("k{n}, {entry:?}: {how}")));
        }
        if is_anew {
            entry.calls = 0;
            entry.called_ms = now_ms;
        } else if !is_changed && !is_acknowledged {
            entry.calls += 1;
            entry.called_ms = now_ms;
            *self.seen.entry("called again").or_insert(0) += 1;
        }
        let is_worse = level.severity < entry.severity;
        (entry.last_ms, entry.severity, entry.refused) = (now_ms, level.severity, false);
        (entry.epoch, entry.acks) = (page.epoch, page.acks);
        Ok(is_call || is_anew || is_worse)
    }

    fn hear_end(
        &mut self,
        delivery: &Delivery,
        n: usize,
        firing: u32,
        how: &str,
    ) -> Result<(), Broken> {
        let whom = (delivery.sink.clone(), n, firing);
        match self.book.heard.get_mut(&whom) {
            Some(entry) if !entry.closed && !entry.refused => {
                entry.closed = true;
                *self.seen.entry("ends heard").or_insert(0) += 1;
            }
            entry => {
                let entry = format!("{entry:?}");
                return Err((
                    Property::ResolveAfterFiring,
                    format!("k{n}, {entry}: {how}"),
                ));
            }
        }
        let level = &self.levels[n];
        if level.is_open() && firing == level.firing {
            return Err((Property::LevelsDecide, format!("k{n} is not over: {how}")));
        }
        Ok(())
    }

    /// Whether everybody has heard who should have by now.
    fn check_heard(&self, n: usize) -> Result<(), Broken> {
        let (level, page, now_ms) = (&self.levels[n], &self.book.pages[n], self.now_ms);
        if level.expected != Expected::Firing || page.muted.is_some() {
            return Ok(());
        }
        let ready_ms = page.begun_ms.max(page.unmuted_ms);
        let waits_ms = |sink: &str| match (level.severity, sink) {
            (Severity::P1, _) | (_, "pager") => 15 * S,
            _ => self.settings.group_interval_ms + self.settings.group_wait_ms + S,
        };
        // What mutes it as the engine has it, and the oracle has not.
        let mute = self.engine.alert(self.ids[n]).and_then(Alert::mute);
        let otherwise = match mute.map(|mute| &mute.by) {
            Some(MutedBy::Window(_)) => Property::WindowsByTheClock,
            Some(MutedBy::Silence(_)) => Property::SilencesEnd,
            _ => Property::NoneLost,
        };
        let sinks: &[&str] = if level.severity.is_urgent() {
            &["pager", "chat"]
        } else {
            &["chat"]
        };
        for sink in sinks {
            let whom = ((*sink).into(), n, level.firing);
            let is_late = now_ms > ready_ms + waits_ms(sink);
            if is_late && !self.book.heard.contains_key(&whom) {
                let property = late(page, ready_ms, otherwise);
                return Err((property, format!("{sink} has not heard of k{n}: {level:?}")));
            }
        }
        if level.severity == Severity::P1 {
            let last_ms = page.last_ms.max(ready_ms);
            let steps = self.settings.escalations.values().flatten();
            let step_ms = steps.map(|step| step.after_ms).max().unwrap_or(0);
            let gap_max_ms = step_ms.max(self.settings.repeat_ms);
            if now_ms - last_ms > gap_max_ms {
                let how = format!("nobody has heard of k{n} since {last_ms}: {level:?}");
                let property = match otherwise {
                    Property::NoneLost => Property::EscalatedUntilAcknowledged,
                    property => property,
                };
                return Err((property, how));
            }
        }
        Ok(())
    }

    /// Whether everybody who may have a firing has heard of its end by now.
    fn check_closed(&mut self) -> Result<(), Broken> {
        let now_ms = self.now_ms;
        // A restart begins to wait anew, and what settles is not heard of.
        let waits_ms = self.settings.group_interval_ms + self.settings.group_wait_ms + S;
        let settles = !self.settled;
        let started_ms = self.started_ms;
        let mut broken = None;
        let levels = &self.levels;
        self.book.heard.retain(|(sink, n, firing), entry| {
            let level = &levels[*n];
            if level.is_open() && level.firing == *firing {
                return true;
            }
            let over_ms = *entry.over_ms.get_or_insert(now_ms);
            if entry.closed || entry.refused {
                // Kept for a while, so that a second end is noticed.
                return now_ms - over_ms < HOUR;
            }
            let since_ms = over_ms.max(started_ms + MIN);
            if !settles && now_ms > since_ms + waits_ms {
                broken.get_or_insert(format!(
                    "{sink} has not heard the end of k{n}#{firing}: {entry:?}"
                ));
            }
            true
        });
        self.book.groups.retain(|_, at_ms| now_ms - *at_ms < HOUR);
        broken.map_or(Ok(()), |how| Err((Property::ClosedForAll, how)))
    }

    fn check_audit(&mut self, findings: &[Finding]) -> Result<(), Broken> {
        let now_ms = self.now_ms;
        let is_silent = |rule: usize| now_ms - self.rounds[rule].complete_ms >= MIN;
        let is_stalled = (0..2).filter(|rule| self.asked[*rule]).all(is_silent);
        let names_stall = findings
            .iter()
            .any(|finding| finding.what == Irregularity::EvaluationStalled);
        if is_stalled && !names_stall {
            return Err((Property::HeartbeatWithheld, "no rule answers".to_owned()));
        }
        *self
            .seen
            .entry(if is_stalled { "stalls" } else { "audits" })
            .or_insert(0) += 1;
        if let Some(finding) = findings.iter().find(|finding| finding.alert.is_some()) {
            let n = finding.alert.and_then(|id| self.by_id.get(&id));
            let page = n.map(|n| &self.book.pages[*n]);
            // Of the engine's own the book has no page.
            let after_silence = now_ms - self.book.silence_ended_ms <= 2 * MIN;
            let of_own = if after_silence {
                Property::SilencesEnd
            } else {
                Property::AuditorQuiet
            };
            let property = page.map_or(of_own, |page| {
                late(
                    page,
                    page.begun_ms.max(page.unmuted_ms),
                    Property::AuditorQuiet,
                )
            });
            return Err((property, format!("{finding:?}")));
        }
        if names_stall && !is_stalled {
            return Err((Property::AuditorQuiet, "rules answer".to_owned()));
        }
        Ok(())
    }

    fn check_memory(&self) -> Result<(), Broken> {
        let kept_ms =
            15 * MIN + self.settings.group_interval_ms + self.settings.group_wait_ms + MIN;
        let is_old = |alert: &&Alert| match &alert.state {
            AlertState::Resolved {
                at_ms,
                holds: false,
                ..
            } => self.now_ms > (*at_ms).max(self.started_ms) + kept_ms,
            _ => false,
        };
        match self.engine.alerts().find(is_old) {
            Some(alert) => Err((Property::MemoryBounded, format!("{alert:?}"))),
            None => Ok(()),
        }
    }

    /// Whether the records so far come to what the engine has, at the moment of a restart.
    pub(super) fn check_records(&self) -> Result<(), Broken> {
        let mut kept = BTreeMap::new();
        for change in self.records.iter().flat_map(|record| &record.changes) {
            match change {
                RecordChange::Alert { alert, .. } => {
                    kept.insert(alert.id, alert.as_ref());
                }
                RecordChange::Forgotten(tombstone) => {
                    kept.remove(&tombstone.alert);
                }
                RecordChange::FiringFloor(_)
                | RecordChange::GroupHeard { .. }
                | RecordChange::Silence { .. }
                | RecordChange::SilenceEnded(_) => {}
            }
        }
        let snapshot = self.engine.snapshot();
        let mut count = 0;
        for change in &snapshot.changes {
            if let RecordChange::Alert { alert, .. } = change {
                count += 1;
                if kept.get(&alert.id) != Some(&alert.as_ref()) {
                    let how = format!("{alert:?} is kept as {:?}", kept.get(&alert.id));
                    return Err((Property::RecordsWhole, how));
                }
            }
        }
        if count != kept.len() {
            return Err((
                Property::RecordsWhole,
                format!("{count} alerts, {} kept", kept.len()),
            ));
        }
        Ok(())
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

fn seen_as(muting: Muting) -> &'static str {
    match muting {
        Muting::Settling => "settling",
        Muting::Silence => "silenced",
        Muting::Window => "in a window",
        Muting::Fleet => "muted by the fleet",
    }
}
