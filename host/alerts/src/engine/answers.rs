//! Answers of rules: what holds now, by level. Only a complete round of answers makes anything resolve.

use std::{collections::BTreeSet, sync::Arc};

use super::{AlertEngine, OWN_RULE};
use crate::{
    alert::{Alert, AlertState},
    condition::{CONDITIONS_MAX, Condition},
    event::{AlertAction, RuleAnswer},
    history::{Happening, ResolveCause},
    identity::AlertId,
    planted::Planted,
    settings::{ALERTS_MAX, AlertSettings, RULE_SILENT_MS},
};

/// Reasons for people in one report about an answer.
const REASONS_MAX: usize = 5;

/// What is known of one rule.
#[derive(Debug, Clone, Default)]
pub(super) struct RuleWatch {
    /// When its last complete round came, or since when it is waited for.
    pub(super) heard_ms: u64,
    /// It has answered completely since the start.
    pub(super) has_answered: bool,
    /// It has not for a minute.
    pub(super) is_silent: bool,
    /// Nobody asks it from outside: the engine's own.
    is_own: bool,
    round: Option<Round>,
    /// Every alert of it that is kept.
    pub(super) alerts: BTreeSet<AlertId>,
}

/// Answers about the pages of one round, so far.
#[derive(Debug, Clone, Default)]
struct Round {
    number: u64,
    pages: u32,
    answered: BTreeSet<u32>,
    named: BTreeSet<AlertId>,
}

impl RuleWatch {
    pub(super) fn new(now_ms: u64, is_own: bool) -> Self {
        Self {
            heard_ms: now_ms,
            is_own,
            ..Self::default()
        }
    }

    /// When it counts as silent; `None`: it does already, or never will.
    pub(super) fn silent_at(&self) -> Option<u64> {
        (!self.is_silent && !self.is_own).then(|| self.heard_ms + RULE_SILENT_MS)
    }
}

impl AlertEngine {
    pub(super) fn answered(&mut self, answer: RuleAnswer, out: &mut Vec<AlertAction>) {
        let RuleAnswer {
            rule,
            round,
            page,
            conditions,
        } = answer;
        let Some(watch) = self.rules.get_mut(&rule) else {
            return; // It was taken out since it was asked.
        };
        if rule.as_ref() == OWN_RULE || page.number >= page.count {
            return;
        }
        let is_new = match &watch.round {
            Some(known) if known.number > round => return, // A late answer to an earlier round.
            Some(known) => known.number != round || known.pages != page.count,
            None => true,
        };
        if is_new {
            watch.round = Some(Round {
                number: round,
                pages: page.count,
                ..Round::default()
            });
        }
        let mut reasons = Vec::new();
        let left_out = self.name_all(&rule, conditions, &mut reasons);
        if left_out > 0 {
            out.push(AlertAction::AnswerRefused {
                rule: rule.clone(),
                reasons,
                left_out,
            });
        }
        let Some(watch) = self.rules.get_mut(&rule) else {
            return;
        };
        if let Some(known) = &mut watch.round {
            known.answered.insert(page.number);
            let is_complete = known.answered.len() == known.pages as usize;
            if is_complete {
                let named = std::mem::take(&mut known.named);
                self.complete(&rule, &named);
            } else if self.bugs.has(Planted::PageIsAll) {
                let named = known.named.clone();
                self.end_unnamed(&rule, &named);
            }
        }
    }

    /// What the engine itself says holds now, whole.
    pub(super) fn answer_own(&mut self, conditions: Vec<Condition>) {
        let rule: Arc<str> = OWN_RULE.into();
        if let Some(watch) = self.rules.get_mut(&rule) {
            watch.round = Some(Round::default());
        }
        self.name_all(&rule, conditions, &mut Vec::new());
        let named = self
            .rules
            .get_mut(&rule)
            .and_then(|watch| watch.round.take())
            .map(|round| round.named)
            .unwrap_or_default();
        self.complete(&rule, &named);
    }

    /// Takes the conditions of one answer in, the most severe first, and returns how many are left out.
    fn name_all(
        &mut self,
        rule: &Arc<str>,
        mut conditions: Vec<Condition>,
        reasons: &mut Vec<String>,
    ) -> usize {
        conditions.sort_by_key(|condition| condition.severity);
        let mut left_out = conditions.len().saturating_sub(CONDITIONS_MAX);
        if left_out > 0 {
            conditions.truncate(CONDITIONS_MAX);
            reasons.push(format!(
                "more than {CONDITIONS_MAX} conditions in an answer"
            ));
        }
        let mut without_room = 0;
        for condition in conditions {
            let key = condition.key.clone();
            let reason = match self.name(rule, condition) {
                Ok(()) => continue,
                Err(Unnamed::Invalid(reason)) => reason,
                Err(Unnamed::NoRoom) => {
                    without_room += 1;
                    format!("{ALERTS_MAX} alerts are kept already")
                }
                Err(Unnamed::OfRule(other)) => format!("{key} is a condition of the rule {other}"),
            };
            left_out += 1;
            if reasons.len() < REASONS_MAX {
                reasons.push(reason);
            }
        }
        let before = if without_room == 0 {
            self.overflow.remove(rule)
        } else {
            self.overflow.insert(rule.clone(), without_room)
        };
        if before.unwrap_or(0) != without_room && rule.as_ref() != OWN_RULE {
            self.own_due_ms = Some(self.now_ms);
        }
        left_out
    }

    fn name(&mut self, rule: &Arc<str>, condition: Condition) -> Result<(), Unnamed> {
        condition
            .check()
            .map_err(|fault| Unnamed::Invalid(fault.to_string()))?;
        let id = AlertId::of(&condition.key);
        let is_full = self.alerts.len() >= ALERTS_MAX && rule.as_ref() != OWN_RULE;
        let alert = match self.alerts.get_mut(&id) {
            Some(alert) => {
                if alert.rule != *rule {
                    // Two rules that name one key speak of one alert: it is the first one's while that names it.
                    if !matches!(alert.state, AlertState::Resolved { holds: false, .. }) {
                        return Err(Unnamed::OfRule(alert.rule.clone()));
                    }
                    if let Some(watch) = self.rules.get_mut(&alert.rule) {
                        watch.alerts.remove(&id);
                    }
                    alert.rule = rule.clone();
                }
                alert
            }
            None if is_full => return Err(Unnamed::NoRoom),
            None => {
                let firing = self.tombstones.take(id);
                let new = Alert::new(rule.clone(), condition.clone(), firing, self.now_ms);
                self.alerts.entry(id).or_insert(new)
            }
        };
        alert.named(condition, self.now_ms, self.bugs);
        if let Some(watch) = self.rules.get_mut(rule) {
            watch.alerts.insert(id);
            if let Some(round) = &mut watch.round {
                round.named.insert(id);
            }
        }
        self.touched.insert(id);
        Ok(())
    }

    /// Every page of a round was answered: what was not named does not hold.
    fn complete(&mut self, rule: &Arc<str>, named: &BTreeSet<AlertId>) {
        let Some(watch) = self.rules.get_mut(rule) else {
            return;
        };
        watch.heard_ms = self.now_ms;
        watch.has_answered = true;
        let was_silent = std::mem::take(&mut watch.is_silent);
        if was_silent {
            self.own_due_ms = Some(self.now_ms);
        }
        self.end_unnamed(rule, named);
    }

    fn end_unnamed(&mut self, rule: &Arc<str>, named: &BTreeSet<AlertId>) {
        let alerts = self.rules.get(rule).map(|watch| watch.alerts.clone());
        for id in alerts.unwrap_or_default() {
            let Some(alert) = self.alerts.get_mut(&id) else {
                continue;
            };
            if std::mem::take(&mut alert.stale) {
                if alert.is_open() {
                    alert.note(self.now_ms, Happening::Fresh);
                }
                self.touched.insert(id);
            }
            if named.contains(&id) {
                continue;
            }
            if alert.not_named(&self.settings, self.now_ms, self.bugs) {
                self.forget(id);
            } else if alert.dirty {
                self.touched.insert(id);
            }
        }
    }

    /// A rule that has not answered for a minute: what it named stays, is marked, and goes on escalating.
    pub(super) fn mark_silent(&mut self) {
        let now_ms = self.now_ms;
        let mut silent = Vec::new();
        for (rule, watch) in &mut self.rules {
            if watch.silent_at().is_some_and(|at_ms| at_ms <= now_ms) {
                watch.is_silent = true;
                silent.push((rule.clone(), watch.alerts.clone()));
            }
        }
        for (rule, alerts) in silent {
            self.own_due_ms = Some(now_ms);
            for id in alerts {
                let Some(alert) = self.alerts.get_mut(&id) else {
                    continue;
                };
                alert.stale = true;
                if alert.is_open() {
                    alert.note(now_ms, Happening::Stale);
                }
                self.touched.insert(id);
            }
            if self.bugs.has(Planted::SilenceResolves) {
                self.end_rule(&rule);
            }
        }
    }

    /// The rule is asked no more: what it named is over, for that reason.
    pub(super) fn end_rule(&mut self, rule: &Arc<str>) {
        let alerts = match self.rules.get(rule) {
            Some(watch) => watch.alerts.clone(),
            None => return,
        };
        for id in alerts {
            self.end_alert_of_removed_rule(id);
        }
    }

    pub(super) fn end_alert_of_removed_rule(&mut self, id: AlertId) {
        let now_ms = self.now_ms;
        let Some(alert) = self.alerts.get_mut(&id) else {
            return;
        };
        match &mut alert.state {
            AlertState::Pending | AlertState::Firing | AlertState::Acknowledged { .. } => {
                alert.resolve(now_ms, ResolveCause::RuleRemoved, false);
            }
            AlertState::Resolved { holds, .. } => {
                *holds = false;
                alert.dirty = true;
            }
        }
        self.touched.insert(id);
    }

    pub(super) fn apply_rules(&mut self, before: &AlertSettings) {
        for rule in &before.rules {
            if !self.settings.rules.contains(rule) {
                self.end_rule(rule);
                self.rules.remove(rule);
                self.overflow.remove(rule);
            }
        }
        for rule in &self.settings.rules {
            self.rules
                .entry(rule.clone())
                .or_insert_with(|| RuleWatch::new(self.now_ms, false));
        }
        self.rules
            .entry(OWN_RULE.into())
            .or_insert_with(|| RuleWatch::new(self.now_ms, true));
    }
}

/// Why a condition is not taken in.
enum Unnamed {
    Invalid(String),
    NoRoom,
    OfRule(Arc<str>),
}
