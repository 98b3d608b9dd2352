//! Each delivery against the book.

use std::sync::Arc;

use super::*;

impl World {
    /// Returns whether it had to wait for nothing.
    pub(super) fn check_delivery(&mut self, delivery: &Arc<Delivery>) -> Result<bool, Broken> {
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

    pub(super) fn check_distance(
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
    pub(super) fn hear(
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

    pub(super) fn hear_end(
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
