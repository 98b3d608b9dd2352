//! What keeps everybody from hearing of an alert, and of whom it keeps it.

use std::collections::BTreeSet;

use super::{AlertEngine, OWN_RULE};
use crate::{
    alert::{Alert, AlertState},
    condition::Severity,
    history::{Happening, Mute, MutedBy},
    identity::AlertId,
    planted::Planted,
};

/// A P1 of the whole fleet mutes already while it is about to fire, where that is so soon: what instances share shows in each of them
/// before it is known to be in all, and one page serves for all.
pub(crate) const ABOUT_TO_FIRE_MS: u64 = 30_000;

impl AlertEngine {
    /// What mutes an alert now, whatever else fires.
    fn muted_by_itself(&self, alert: &Alert) -> Option<Mute> {
        let now_ms = self.now_ms;
        let matches =
            |matcher: &crate::matcher::Matcher| matcher.matches(alert.severity, &alert.condition);
        if let Some(until_ms) = self.settling_until(alert.severity) {
            return Some(Mute {
                by: MutedBy::Settling,
                until_ms: Some(until_ms),
            });
        }
        let silence = self
            .silences
            .iter()
            .filter(|(_, silence)| silence.is_active(now_ms) && matches(&silence.matcher))
            .max_by_key(|(_, silence)| silence.ends_ms);
        if let Some((id, silence)) = silence
            && !(self.bugs.has(Planted::SilenceIgnored) && alert.condition.instance.is_some())
        {
            return Some(Mute {
                by: MutedBy::Silence(*id),
                until_ms: Some(silence.ends_ms),
            });
        }
        self.windows
            .iter()
            .find(|one| one.is_active(now_ms) && matches(&one.window.matcher))
            .map(|one| Mute {
                by: MutedBy::Window(one.window.name.clone()),
                until_ms: one.span.map(|(_, end_ms)| end_ms),
            })
    }

    /// What mutes an alert now. A P1 that is muted itself mutes nothing: somebody must hear of one of them.
    pub(super) fn mute_of(&self, alert: &Alert) -> Option<Mute> {
        if let Some(mute) = self.muted_by_itself(alert) {
            return Some(mute);
        }
        alert.condition.instance.as_ref()?;
        if self.bugs.has(Planted::InhibitionIgnored) {
            return None;
        }
        let by = self.alerts.get(self.inhibitors.first()?)?;
        Some(Mute {
            by: MutedBy::Inhibition(by.condition.key.clone()),
            until_ms: None,
        })
    }

    /// Sees which P1 of the whole fleet fire, or are about to, among the alerts that were touched. The first one and the last one to end concern
    /// every alert of an instance. The engine's own are about alerts, not about the fleet.
    pub(super) fn update_inhibitors(&mut self) {
        let before = self.inhibitors.first().copied();
        let mut inhibitors: BTreeSet<AlertId> = std::mem::take(&mut self.inhibitors);
        for id in &self.touched {
            let inhibits = self.alerts.get(id).is_some_and(|alert| {
                alert.severity == Severity::P1
                    && alert.condition.instance.is_none()
                    && (alert.is_open() || is_about_to_fire(alert))
                    && alert.rule.as_ref() != OWN_RULE
                    && self.muted_by_itself(alert).is_none()
            });
            if inhibits {
                inhibitors.insert(*id);
            } else {
                inhibitors.remove(id);
            }
        }
        self.inhibitors = inhibitors;
        if before != self.inhibitors.first().copied() {
            let of_instances = self
                .alerts
                .values()
                .filter(|alert| alert.condition.instance.is_some())
                .map(|alert| alert.id);
            self.touched.extend(of_instances);
        }
    }

    /// Keeps with the alert what mutes it, and notes when that changes.
    pub(super) fn update_mute(&self, alert: &mut Alert) {
        let mute = if alert.is_open() {
            self.mute_of(alert)
        } else {
            None
        };
        if mute == alert.mute {
            return;
        }
        match &mute {
            Some(mute) => alert.note(self.now_ms, Happening::Muted(mute.clone())),
            None if alert.is_open() => alert.note(self.now_ms, Happening::Unmuted),
            None => {}
        }
        alert.mute = mute;
    }
}

/// Whether it will fire soon unless its condition ends. One whose rule is silent may stay as it is for ever.
fn is_about_to_fire(alert: &Alert) -> bool {
    alert.state == AlertState::Pending
        && !alert.is_stale()
        && alert.condition.for_ms <= ABOUT_TO_FIRE_MS
}
