//! The supervisor and the plugin host of the simulated world: processes with tempers, and answers that may not come.

use super::{
    check::words,
    world::{Item, World},
};
use crate::{
    Run, SlotKey,
    action::Action,
    event::{Event, Evidence, Exit, NoAnswer, QuestionId, Sample},
    health::{Health, HealthVerdict},
};

/// A process as it really is, whatever the core believes.
#[derive(Debug, Clone)]
pub(super) struct Proc {
    pub(super) alive: bool,
    pub(super) handshook: bool,
    pub(super) temper: Temper,
    /// The router let go of it.
    pub(super) released: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Temper {
    pub(super) ignores_term: bool,
    pub(super) hangs: bool,
    pub(super) never_drains: bool,
    /// Hangs in the kernel until then, whoever kills it.
    pub(super) unkillable_until_ms: u64,
}

/// What the processes of an instance are like, in percent.
#[derive(Debug, Clone, Default)]
pub(super) struct Character {
    pub(super) spawn_fails: u64,
    pub(super) never_ready: u64,
    pub(super) handshake_fails: u64,
    pub(super) dies_early: u64,
    pub(super) crashes: u64,
    pub(super) ignores_term: u64,
    pub(super) hangs: u64,
    pub(super) requests_fail: u64,
    pub(super) grows: u64,
    pub(super) breeds: u64,
    pub(super) same_words: bool,
}

impl World {
    pub(super) fn supervise(&mut self, action: Action) {
        match action {
            Action::Spawn { key, run, .. } => self.spawn(key, run),
            Action::Drain { key, run, .. } => self.drain(key, run),
            Action::Terminate { key, run } => self.terminate(key, run),
            Action::Kill { key, run } => self.kill(key, run),
            Action::Release { key, run } => {
                if let Some(proc) = self.procs.get_mut(&(key, run)) {
                    proc.released = true;
                }
            }
            Action::Ping { key, run, .. } => self.ping(key, run),
            Action::Ask { question, .. } => self.ask(question),
            _ => {}
        }
    }

    fn spawn(&mut self, key: SlotKey, run: Run) {
        let nature = self
            .characters
            .get(&key.instance)
            .cloned()
            .unwrap_or_default();
        if self.dice.chance(nature.spawn_fails) {
            self.saw("spawn failed");
            return self.tell(Event::SpawnFailed {
                key,
                run,
                error: "EADDRINUSE".into(),
            });
        }
        // The request to spawn may itself get lost: then nothing lives, and nothing is heard.
        if self.is_lost() {
            return self.saw("spawn lost");
        }
        let proc = Proc {
            alive: true,
            handshook: false,
            temper: Temper {
                ignores_term: self.dice.chance(nature.ignores_term),
                hangs: self.dice.chance(nature.hangs),
                never_drains: !self.calm && self.dice.chance(10),
                unkillable_until_ms: 0,
            },
            released: false,
        };
        self.procs.insert((key.clone(), run), proc);
        if !self.is_lost() {
            let pid = 1_000 + run.0 as u32;
            self.tell(Event::Spawned {
                key: key.clone(),
                run,
                pid,
            });
        }
        if self.dice.chance(nature.dies_early) {
            let (in_ms, code) = (self.dice.between(0, 2_000), self.dice.between(0, 3) as i32);
            self.later(in_ms, Item::Die(key.clone(), run, Exit::Code(code)));
        } else if self.dice.chance(nature.crashes) {
            let in_ms = self.dice.between(500, 120_000);
            self.later(in_ms, Item::Die(key.clone(), run, Exit::Signal(11)));
        }
        if self.dice.chance(nature.handshake_fails) {
            let event = Event::HandshakeFailed {
                key,
                run,
                error: "garbage".into(),
            };
            self.tell(event);
        } else if !self.dice.chance(nature.never_ready) {
            let in_ms = if self.calm {
                300
            } else {
                self.dice.between(10, 11_000)
            };
            self.later(in_ms, Item::Handshake(key, run));
        }
    }

    pub(super) fn handshake(&mut self, key: &SlotKey, run: Run) {
        let Some(proc) = self.procs.get_mut(&(key.clone(), run)) else {
            return;
        };
        if proc.alive && !proc.released {
            proc.handshook = true;
            let tools = self.tools();
            self.tell(Event::Ready {
                key: key.clone(),
                run,
                tools,
            });
        }
    }

    pub(super) fn tools(&mut self) -> Vec<String> {
        let count = if self.calm || self.dice.chance(85) {
            6
        } else {
            self.dice.between(0, 8)
        };
        (0..count).map(|n| format!("tool_{n}")).collect()
    }

    /// A process ends, whoever wanted it, and the supervisor hears of it.
    pub(super) fn die(&mut self, key: &SlotKey, run: Run, exit: Exit) {
        let Some(proc) = self.procs.get_mut(&(key.clone(), run)) else {
            return;
        };
        let until_ms = proc.temper.unkillable_until_ms;
        if proc.alive && until_ms > self.now_ms {
            self.saw("unkillable");
            return self.later(until_ms - self.now_ms, Item::Die(key.clone(), run, exit));
        }
        if !std::mem::replace(&mut proc.alive, false) {
            return;
        }
        self.requests_die(key, run);
        let same = self
            .characters
            .get(&key.instance)
            .is_some_and(|nature| nature.same_words);
        let words = if same {
            "boom at line 7".to_owned()
        } else {
            format!("boom {:?}", (run, "x".repeat(run.0 as usize % 7)))
        };
        let evidence = Evidence {
            stderr_tail: vec![words],
            ..Evidence::default()
        };
        if self.is_lost() {
            // Nobody saw it end; that its connection broke is heard all the same.
            self.saw("end lost");
            let error = "end of file".to_owned();
            let key = key.clone();
            return self.tell(Event::UpstreamLost { key, run, error });
        }
        self.tell(Event::Exited {
            key: key.clone(),
            run,
            exit,
            evidence,
        });
    }

    fn drain(&mut self, key: SlotKey, run: Run) {
        let is_stubborn = self
            .procs
            .get(&(key.clone(), run))
            .is_some_and(|proc| proc.temper.never_drains);
        if !is_stubborn && !self.is_lost() {
            self.tell(Event::Drained { key, run });
        }
    }

    fn terminate(&mut self, key: SlotKey, run: Run) {
        let Some(proc) = self.procs.get(&(key.clone(), run)) else {
            return;
        };
        if proc.temper.ignores_term || self.is_lost() {
            return self.saw("SIGTERM ignored");
        }
        let in_ms = self.dice.between(0, 6_000);
        self.later(in_ms, Item::Die(key, run, Exit::Signal(15)));
    }

    /// The one promise: a kill is finally answered, whatever became of the run.
    fn kill(&mut self, key: SlotKey, run: Run) {
        if self.is_lost() {
            return self.saw("kill lost");
        }
        let lives = self
            .procs
            .get(&(key.clone(), run))
            .is_some_and(|proc| proc.alive);
        if lives {
            let in_ms = self.dice.between(0, 500);
            self.later(in_ms, Item::Die(key, run, Exit::Signal(9)));
        } else {
            let (exit, evidence) = (Exit::Unknown, Evidence::default());
            self.tell(Event::Exited {
                key,
                run,
                exit,
                evidence,
            });
        }
    }

    fn ping(&mut self, key: SlotKey, run: Run) {
        let answers = self
            .procs
            .get(&(key.clone(), run))
            .is_some_and(|proc| proc.alive && !proc.temper.hangs);
        if self.is_lost() {
            return;
        }
        if answers && (self.calm || self.dice.chance(97)) {
            self.tell(Event::PingAnswered {
                key,
                run,
                rtt_ms: 1.5,
            });
        } else {
            self.later(5_000, Item::Deliver(Event::PingFailed { key, run }));
        }
    }

    fn ask(&mut self, question: QuestionId) {
        let dice = if self.calm {
            0
        } else {
            self.dice.between(0, 99)
        };
        match dice {
            0..80 => {
                let verdict = self.verdict(question);
                self.later(0, Item::Deliver(Event::Answered { question, verdict }));
                if !self.calm && self.dice.chance(5) {
                    // A second answer to the same question, and another one at that.
                    let verdict = HealthVerdict {
                        health: Health::Unhealthy,
                        reason: words(question) + "was answered twice",
                        recycle: true,
                        attributes: Vec::new(),
                    };
                    let in_ms = self.dice.between(0, 5_000);
                    self.later(in_ms, Item::Deliver(Event::Answered { question, verdict }));
                }
            }
            80..85 => self.tell(Event::Unanswered {
                question,
                why: NoAnswer::TimedOut,
            }),
            85..90 => self.tell(Event::Unanswered {
                question,
                why: NoAnswer::Trapped,
            }),
            90..93 => self.tell(Event::Unanswered {
                question,
                why: NoAnswer::Absent,
            }),
            93..97 => {
                self.saw("late answer");
                let (in_ms, verdict) = (self.dice.between(1_000, 20_000), self.verdict(question));
                self.later(in_ms, Item::Deliver(Event::Answered { question, verdict }));
            }
            _ => self.saw("question lost"),
        }
    }

    fn verdict(&mut self, question: QuestionId) -> HealthVerdict {
        if self.calm || self.dice.chance(80) {
            return HealthVerdict::healthy();
        }
        let health = if self.dice.chance(50) {
            Health::Degraded
        } else {
            Health::Unhealthy
        };
        HealthVerdict {
            health,
            reason: words(question) + "was answered so",
            recycle: self.dice.chance(30),
            attributes: Vec::new(),
        }
    }

    /// What the probe of the driver reads every few seconds.
    pub(super) fn sample(&mut self) {
        self.later(self.plan.sample_ms, Item::Sample);
        let live = self
            .procs
            .iter()
            .filter(|(_, proc)| proc.alive && !proc.released);
        let live: Vec<_> = live
            .into_iter()
            .map(|((key, run), _)| (key.clone(), *run))
            .collect();
        for (key, run) in live {
            if !self.reported.contains(&(key.clone(), run)) {
                continue;
            }
            let limit = self.memory_limit(&key).unwrap_or(1 << 30);
            let nature = self.characters.get(&key.instance);
            let (grows, breeds) = nature.map_or((0, 0), |nature| (nature.grows, nature.breeds));
            let percent = if self.dice.chance(grows) {
                self.dice.between(80, 110)
            } else {
                40
            };
            let processes = if self.dice.chance(breeds) {
                self.dice.between(1, 10) as u32
            } else {
                1
            };
            let in_flight = self
                .requests
                .values()
                .filter(|request| request.run == run)
                .count() as u32;
            let sample = Sample {
                memory_bytes: self.dice.chance(95).then_some(limit / 100 * percent),
                processes,
                in_flight,
                answered_ago_ms: Some(self.dice.between(0, 4_000)),
                window_requests: 100,
                window_errors: if self.calm {
                    0
                } else {
                    self.dice.between(0, 60)
                },
                window_p95_ms: Some(12.0),
            };
            self.tell(Event::Sampled { key, run, sample });
        }
        let totals: Vec<_> = self
            .cells
            .iter()
            .map(|(id, cell)| (id.clone(), cell.totals()))
            .collect();
        for (instance, totals) in totals {
            self.later(0, Item::Deliver(Event::Traffic { instance, totals }));
        }
    }
}
