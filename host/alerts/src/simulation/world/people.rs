//! What people do.

use super::*;

impl World {
    pub(super) fn people(&mut self) -> Result<(), (Property, String)> {
        let after_ms = self.dice.between(1, 90) * MIN;
        self.schedule(after_ms, Due::People);
        let n = self.dice.between(0, self.levels.len() as u64 - 1) as usize;
        let alert = self.ids[n];
        let now_ms = self.now_ms;
        self.levels
            .iter_mut()
            .for_each(|level| level.link_outdated = false);
        match self.dice.between(0, 11) {
            10.. => self.follow_link(n),
            0..5 => {
                if self.levels[n].is_open() {
                    let until_ms = now_ms + self.settings.ack_ttl_ms;
                    self.levels[n].acknowledge(now_ms, until_ms);
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

    /// Somebody follows a link that came with a message of the last hours, rather than another one that of an alert which somebody was
    /// on before.
    fn follow_link(&mut self, n: usize) -> Result<(), (Property, String)> {
        let (now_ms, until_ms) = (self.now_ms, self.now_ms + self.settings.ack_ttl_ms);
        let was_left =
            |one: &Level| one.expected == Expected::Firing && one.acknowledged_ms.is_some();
        let n = self.levels.iter().position(was_left).unwrap_or(n);
        let from_ms = self.levels[n]
            .acknowledged_ms
            .filter(|_| self.dice.chance(50));
        let at_ms = from_ms.unwrap_or(now_ms) - self.dice.between(0, 240) * MIN;
        let is_old = self.dice.chance(20);
        let level = &mut self.levels[n];
        let firing = level.firing.saturating_sub(u32::from(is_old));
        if level.expected == Expected::Firing && firing == level.firing {
            level.link_outdated = level
                .acknowledged_ms
                .is_some_and(|last_ms| last_ms >= at_ms);
            let seen = if level.link_outdated {
                "links outdated"
            } else {
                level.acknowledge(now_ms, until_ms);
                self.book.acknowledged(n);
                "links followed"
            };
            *self.seen.entry(seen).or_insert(0) += 1;
        }
        let about = AlertRef {
            alert: self.ids[n],
            firing,
        };
        let verb = RelayedVerb::Acknowledge;
        self.command(AlertVerb::Relayed { about, at_ms, verb })
    }

    pub(super) fn silence(&mut self, n: usize) -> Result<(), (Property, String)> {
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

    pub(super) fn command(&mut self, verb: AlertVerb) -> Result<(), (Property, String)> {
        self.commands += 1;
        let (id, by) = (self.commands, format!("person {}", self.commands));
        self.step(
            AlertEvent::Command(AlertCommand { id, by, verb }),
            Context::Other,
        )
    }

    pub(super) fn done(&mut self, result: &Result<AlertDone, AlertCommandError>) {
        if let Ok(AlertDone::Silence(id)) = result
            && let Some(silence) = self.silences.iter_mut().find(|(id, ..)| id.0 == 0)
        {
            silence.0 = *id;
        }
    }
}
