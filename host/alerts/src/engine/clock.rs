//! What time itself brings about, and what concerns every alert at once: settling, windows, silences, settings.

use std::sync::Arc;

use super::{AlertEngine, OWN_RULE};
use crate::{
    condition::{CONDITIONS_MAX, Severity},
    notice::{CHANGE_BYTES_MAX, CHANGES_MAX},
    planted::Planted,
    record::RecordChange,
    settings::{AlertSettings, CHANGES_MS, JOURNAL_WAIT_MS, RULE_SILENT_MS},
    silence::SilenceId,
    window::MaintenanceWindow,
};

/// A maintenance window, and when it is next.
#[derive(Debug, Clone)]
pub(super) struct WindowWatch {
    pub(super) window: MaintenanceWindow,
    /// The first time that has not ended.
    pub(super) span: Option<(u64, u64)>,
}

impl WindowWatch {
    /// When it next begins or ends.
    pub(super) fn edge_after(&self, now_ms: u64) -> Option<u64> {
        self.span
            .map(|(start_ms, end_ms)| if now_ms < start_ms { start_ms } else { end_ms })
    }

    pub(super) fn is_active(&self, now_ms: u64) -> bool {
        self.span
            .is_some_and(|(start_ms, end_ms)| (start_ms..end_ms).contains(&now_ms))
    }
}

impl AlertEngine {
    /// Whatever became due since the last step.
    pub(super) fn run_clock(&mut self) {
        self.settle_start();
        self.mark_silent();
        self.move_windows();
        self.end_silences();
        while let Some((at_ms, id)) = self.timers.first().copied()
            && at_ms <= self.now_ms
        {
            self.timers.pop_first();
            if let Some(alert) = self.alerts.get_mut(&id) {
                alert.wake_ms = None;
            }
            self.touched.insert(id);
        }
        if self.own_due_ms.is_some_and(|at_ms| at_ms <= self.now_ms) {
            self.watch_self();
        }
    }

    fn settle_start(&mut self) {
        let since_start_ms = self.now_ms.saturating_sub(self.started_ms);
        if !self.journal_read && since_start_ms >= JOURNAL_WAIT_MS {
            self.journal_read = true;
            self.touch_all();
        }
        let all_answered = || {
            self.rules
                .iter()
                .all(|(rule, watch)| watch.has_answered || rule.as_ref() == OWN_RULE)
        };
        if !self.settled
            && self.journal_read
            && (since_start_ms >= RULE_SILENT_MS || all_answered())
        {
            self.settled = true;
            self.touch_all();
        }
    }

    /// Until when nobody hears of an alert of this severity because the router has just started.
    pub(super) fn settling_until(&self, severity: Severity) -> Option<u64> {
        if self.bugs.has(Planted::SettlesAtOnce) {
            None
        } else if !self.journal_read {
            Some(self.started_ms + JOURNAL_WAIT_MS)
        } else if severity != Severity::P1 && !self.settled {
            Some(self.started_ms + RULE_SILENT_MS)
        } else {
            None
        }
    }

    fn move_windows(&mut self) {
        let now_ms = self.now_ms;
        let mut has_changed = false;
        for watch in &mut self.windows {
            // An edge that was passed since the last step, be it the beginning: the wake-up for it is what brings this step.
            if let Some((start_ms, end_ms)) = watch.span {
                has_changed |= start_ms <= now_ms;
                if end_ms <= now_ms {
                    watch.span = if self.bugs.has(Planted::WindowAddsAWeek) {
                        let week_ms = 7 * 24 * 3_600_000;
                        Some((start_ms + week_ms, end_ms + week_ms))
                    } else {
                        watch.window.span_after(now_ms)
                    };
                }
            }
        }
        let active = self.windows.iter().map(|one| one.is_active(now_ms));
        let active: Vec<bool> = active.collect();
        if has_changed && active != self.windows_active {
            self.windows_active = active;
            self.touch_all();
        }
    }

    fn end_silences(&mut self) {
        if self.silence_edge_ms.is_none_or(|at_ms| at_ms > self.now_ms) {
            return;
        }
        let now_ms = self.now_ms;
        let over: Vec<SilenceId> = self
            .silences
            .iter()
            .filter(|(_, silence)| silence.ends_ms <= now_ms)
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.silences.remove(&id);
            self.record.changes.push(RecordChange::SilenceEnded(id));
        }
        if self.bugs.has(Planted::SilenceEndUnnoticed) {
            self.silence_edge_ms = None;
            return;
        }
        self.silences_changed();
    }

    /// Silences were made, ended, or began.
    pub(super) fn silences_changed(&mut self) {
        let now_ms = self.now_ms;
        self.silence_edge_ms = self
            .silences
            .values()
            .flat_map(|silence| [silence.starts_ms, silence.ends_ms])
            .filter(|at_ms| *at_ms > now_ms)
            .min();
        self.touch_all();
    }

    pub(super) fn apply_settings(&mut self, settings: AlertSettings) {
        let before = std::mem::replace(&mut self.settings, settings);
        let now_ms = self.now_ms;
        self.windows = self
            .settings
            .maintenance
            .iter()
            .map(|window| WindowWatch {
                span: window.span_after(now_ms),
                window: window.clone(),
            })
            .collect();
        self.windows_active = self
            .windows
            .iter()
            .map(|one| one.is_active(now_ms))
            .collect();
        self.apply_rules(&before);
        self.sinks
            .retain(|sink, _| self.settings.sinks.contains_key(sink));
        self.own_due_ms = Some(now_ms);
        self.touch_all();
    }

    pub(super) fn note_change(&mut self, line: &str) {
        let cut = &line[..line.floor_char_boundary(CHANGE_BYTES_MAX)];
        if self.changes.len() == CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back((self.now_ms, cut.into()));
    }

    /// What changed in the last hour, the latest first.
    pub(super) fn recent_changes(&self) -> Vec<Arc<str>> {
        let since_ms = self.now_ms.saturating_sub(CHANGES_MS);
        self.changes
            .iter()
            .rev()
            .take_while(|(at_ms, _)| *at_ms >= since_ms)
            .map(|(_, line)| line.clone())
            .collect()
    }
}

// An answer fits among the alerts that are kept.
const _: () = assert!(CONDITIONS_MAX < crate::settings::ALERTS_MAX);
