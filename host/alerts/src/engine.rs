//! The alert engine: every alert, and the one entrance through which anything changes.
//!
//! A step takes in one event, which only notes what happened; then each alert that was touched, or for which something is due, is
//! planned: from what is so now follows who is to hear what (`engine/planning`). What is to be heard waits in groups
//! (`engine/groups`) until it goes out as deliveries (`engine/notifying`). All that a step changed is one record, in front of its
//! other actions; a new engine that is given the records goes on where this one was (`engine/restoring`).
//!
//! Planning goes by what is so, not by what happened: a sink that has not heard of a firing hears of it as soon as nothing mutes
//! it, whatever had kept it from that, a restart included. An alert that was not touched, and for which nothing is due, would not
//! change: a step costs what it touches. Only what concerns all alerts (a silence or a window that begins or ends, a new
//! configuration, a P1 of the whole fleet, the auditor once a minute) goes over all of them.

mod answers;
mod auditing;
mod clock;
mod commands;
mod escalating;
mod groups;
mod muting;
mod notifying;
mod planning;
mod progress;
mod restoring;
mod self_watch;
#[cfg(test)]
mod tests;
mod tombstones;

#[cfg(test)]
pub(crate) use muting::ABOUT_TO_FIRE_MS;
pub use self_watch::{OWN_ALERTS, OwnAlert};

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    alert::Alert,
    condition::Severity,
    delivery::{DeliveryOrder, SinkHealth},
    event::{AlertAction, AlertEvent},
    identity::AlertId,
    matcher::Matcher,
    planted::Bugs,
    record::{Record, RecordChange, Tombstone},
    settings::{AUDIT_MS, AlertSettings, JOURNAL_WAIT_MS, RULE_SILENT_MS, Routing},
    silence::{Silence, SilenceId},
};
use answers::RuleWatch;
use clock::WindowWatch;
use groups::Groups;
use tombstones::Tombstones;

/// The rule under whose name the engine raises what no rule can.
pub const OWN_RULE: &str = "router";

/// See the module.
#[derive(Debug)]
pub struct AlertEngine {
    settings: AlertSettings,
    now_ms: u64,
    started_ms: u64,
    /// The journal was read, or waited for long enough.
    journal_read: bool,
    /// Every rule has answered once, or was waited for long enough.
    settled: bool,
    rules: BTreeMap<Arc<str>, RuleWatch>,
    alerts: BTreeMap<AlertId, Alert>,
    tombstones: Tombstones,
    silences: BTreeMap<SilenceId, Silence>,
    silence_last: u64,
    silence_edge_ms: Option<u64>,
    windows: Vec<WindowWatch>,
    windows_active: Vec<bool>,
    groups: Groups,
    timers: BTreeSet<(u64, AlertId)>,
    /// Alerts of the whole fleet that mute those of instances.
    inhibitors: BTreeSet<AlertId>,
    sinks: BTreeMap<Arc<str>, SinkHealth>,
    changes: VecDeque<(u64, Arc<str>)>,
    next_audit_ms: u64,
    own_due_ms: Option<u64>,
    /// Conditions that there was no room for in the last answers, by rule.
    overflow: BTreeMap<Arc<str>, usize>,
    tests: u32,
    touched: BTreeSet<AlertId>,
    changed: BTreeSet<AlertId>,
    record: Record,
    pub(crate) bugs: Bugs,
    /// How many times an alert was planned so far.
    #[cfg(test)]
    pub(crate) planned: usize,
}

impl AlertEngine {
    /// An engine without alerts. Nobody hears of anything before `JournalRead`, or two seconds.
    #[must_use]
    pub fn new(settings: AlertSettings, now_ms: u64) -> Self {
        let mut engine = Self {
            settings: AlertSettings::default(),
            now_ms,
            started_ms: now_ms,
            journal_read: false,
            settled: false,
            rules: BTreeMap::new(),
            alerts: BTreeMap::new(),
            tombstones: Tombstones::default(),
            silences: BTreeMap::new(),
            silence_last: 0,
            silence_edge_ms: None,
            windows: Vec::new(),
            windows_active: Vec::new(),
            groups: Groups::default(),
            timers: BTreeSet::new(),
            inhibitors: BTreeSet::new(),
            sinks: BTreeMap::new(),
            changes: VecDeque::new(),
            next_audit_ms: now_ms + AUDIT_MS,
            own_due_ms: None,
            overflow: BTreeMap::new(),
            tests: 0,
            touched: BTreeSet::new(),
            changed: BTreeSet::new(),
            record: Record::default(),
            bugs: Bugs::default(),
            #[cfg(test)]
            planned: 0,
        };
        engine.apply_settings(settings);
        engine
    }

    /// Takes in one event and appends what is to be done, in order. `now_ms` is in milliseconds since 1970, by a clock that the
    /// driver never sets back: it takes the wall's when it starts, and goes on by the monotonic one. A `now_ms` before that of the
    /// last step counts as that one.
    pub fn step(&mut self, now_ms: u64, event: AlertEvent, out: &mut Vec<AlertAction>) {
        self.now_ms = self.now_ms.max(now_ms);
        let kept_at = out.len();
        self.apply(event, out);
        self.run_clock();
        self.settle();
        self.audit(out);
        if let Some(record) = self.finish_record() {
            out.insert(kept_at, AlertAction::Keep(Box::new(record)));
        }
    }

    fn apply(&mut self, event: AlertEvent, out: &mut Vec<AlertAction>) {
        match event {
            AlertEvent::Tick => {}
            AlertEvent::JournalRead(records) => self.restore(records),
            AlertEvent::Answered(answer) => self.answered(answer, out),
            AlertEvent::SettingsApplied(settings) => self.apply_settings(*settings),
            AlertEvent::Command(command) => {
                let id = command.id;
                let result = self.command(command);
                out.push(AlertAction::CommandDone { id, result });
            }
            AlertEvent::Delivery(report) => self.progressed(&report),
            AlertEvent::Sink(health) => self.sink_changed(health),
            AlertEvent::Changed(line) => self.note_change(&line),
        }
    }

    /// Plans what was touched and hands over what is due, until neither leaves anything. It ends: what is handed over was heard, and
    /// what was heard is needed no more.
    fn settle(&mut self) {
        loop {
            self.update_inhibitors();
            while let Some(id) = self.touched.pop_first() {
                self.plan(id);
            }
            self.flush_groups();
            if self.touched.is_empty() {
                return;
            }
        }
    }

    fn finish_record(&mut self) -> Option<Record> {
        for id in std::mem::take(&mut self.changed) {
            if let Some(alert) = self.alerts.get_mut(&id)
                && alert.dirty
            {
                let change = alert.take_change(self.bugs);
                self.record.changes.push(change);
            }
        }
        if self.record.is_empty() {
            return None;
        }
        self.record.at_ms = self.now_ms;
        Some(std::mem::take(&mut self.record))
    }

    /// When `Tick` must come at the latest, in milliseconds since 1970.
    #[must_use]
    pub fn next_wake(&self) -> u64 {
        let first_start_ms = if self.journal_read {
            None
        } else {
            Some(self.started_ms + JOURNAL_WAIT_MS)
        };
        let settling_ms = if self.settled {
            None
        } else {
            Some(self.started_ms + RULE_SILENT_MS)
        };
        [
            first_start_ms,
            settling_ms,
            self.rules.values().filter_map(RuleWatch::silent_at).min(),
            self.windows
                .iter()
                .filter_map(|one| one.edge_after(self.now_ms))
                .min(),
            self.silence_edge_ms,
            self.own_due_ms,
            self.timers.first().map(|(at_ms, _)| *at_ms),
            self.groups.next_due(),
        ]
        .into_iter()
        .flatten()
        .fold(self.next_audit_ms, u64::min)
    }

    /// Every alert that is kept, by id.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    /// One of them.
    #[must_use]
    pub fn alert(&self, id: AlertId) -> Option<&Alert> {
        self.alerts.get(&id)
    }

    /// The rules that are asked, each with the time of its last complete answer, or since when one is waited for, in milliseconds since
    /// 1970.
    pub fn rules(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        let asked = self.rules.iter();
        let asked = asked.filter(|(rule, _)| rule.as_ref() != OWN_RULE);
        asked.map(|(rule, watch)| (rule, watch.heard_ms))
    }

    /// Every silence that is not over.
    pub fn silences(&self) -> impl Iterator<Item = (SilenceId, &Silence)> {
        self.silences.iter().map(|(id, silence)| (*id, silence))
    }

    /// Each maintenance window by its name, with the times of its present or next beginning and end, in milliseconds since 1970.
    pub fn maintenance(&self) -> impl Iterator<Item = (&Arc<str>, Option<(u64, u64)>)> {
        self.windows.iter().map(|one| (&one.window.name, one.span))
    }

    /// What is kept of alerts that are forgotten.
    pub fn tombstones(&self) -> impl Iterator<Item = Tombstone> {
        self.tombstones.iter()
    }

    /// What a silence would mute now.
    pub fn matching<'a>(&'a self, matcher: &'a Matcher) -> impl Iterator<Item = &'a Alert> {
        self.alerts
            .values()
            .filter(|alert| alert.is_open() && matcher.matches(alert.severity, &alert.condition))
    }

    /// Where such an alert would go.
    #[must_use]
    pub fn routing(&self, severity: Severity, name: &str, instance: Option<&str>) -> Routing {
        self.settings.routing_of(severity, name, instance, None)
    }

    /// What a journal needs to hold so that a new engine goes on where this one is: for one that has grown long.
    #[must_use]
    pub fn snapshot(&self) -> Record {
        let alerts = self.alerts.values().map(|alert| RecordChange::Alert {
            alert: Box::new(alert.kept()),
            history: alert.history.iter().cloned().collect(),
        });
        let silences = self
            .silences
            .iter()
            .map(|(id, silence)| RecordChange::Silence {
                id: *id,
                silence: silence.clone(),
            });
        let floor = RecordChange::FiringFloor(self.tombstones.floor());
        let groups =
            self.groups
                .heard()
                .map(|((sink, group_key), at_ms)| RecordChange::GroupHeard {
                    sink: sink.clone(),
                    group_key: group_key.clone(),
                    at_ms,
                });
        let tombstones = self.tombstones.iter().map(RecordChange::Forgotten);
        Record {
            at_ms: self.now_ms,
            changes: std::iter::once(floor)
                .chain(tombstones)
                .chain(alerts)
                .chain(silences)
                .chain(groups)
                .collect(),
            orders: Vec::new(),
        }
    }

    fn touch_all(&mut self) {
        self.touched.extend(self.alerts.keys());
    }

    fn order(&mut self, order: DeliveryOrder) {
        self.record.orders.push(order);
    }
}
