//! What becomes of deliveries, restarts and reloads.

use super::*;

impl World {
    pub(super) fn attempt(&mut self, id: &DeliveryId) -> Result<(), (Property, String)> {
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

    pub(super) fn report(
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
            content: delivery.clone().into(),
            progress,
        };
        self.step(AlertEvent::Delivery(report), Context::Other)
    }

    pub(super) fn cancel(&mut self, about: AlertRef) -> Result<(), (Property, String)> {
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

    pub(super) fn restart(&mut self) -> Result<(), (Property, String)> {
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

    pub(super) fn reload(&mut self) -> Result<(), (Property, String)> {
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

    pub(super) fn rule_back(&mut self) -> Result<(), (Property, String)> {
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
}
