//! What must have happened by now, and what must be left of it.

use super::*;

impl World {
    /// Whether everybody has heard who should have by now.
    pub(super) fn check_heard(&self, n: usize) -> Result<(), Broken> {
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
    pub(super) fn check_closed(&mut self) -> Result<(), Broken> {
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

    pub(super) fn check_audit(&mut self, findings: &[Finding]) -> Result<(), Broken> {
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

    pub(super) fn check_memory(&self) -> Result<(), Broken> {
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
    pub(in crate::simulation) fn check_records(&self) -> Result<(), Broken> {
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
