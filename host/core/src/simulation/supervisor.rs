//! The supervisor and the plugin host of the simulated world: processes with tempers, and answers that may not come.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    chaos::TEMPLATES,
    check::reason_prefix,
    world::{Item, World},
};
use crate::{
    Run, SlotKey,
    action::SlotAction,
    capacity::{CapacityPlan, Limit, LoadMeasure, Measure},
    event::{Event, Evidence, Exit, FleetEvent, PolicyEvent, Sample, SlotEvent, TrafficEvent},
    health::{Health, HealthVerdict},
    policy::{Answer, Ask, NoAnswer, PolicyAnswer, Question, QuestionId},
};

/// When the core's clock began, in the simulated world.
pub(super) const UNIX_MS: u64 = 1_700_000_000_000;

/// A process as it really is, whatever the core believes.
#[derive(Debug, Clone)]
pub(super) struct Proc {
    pub(super) alive: bool,
    pub(super) handshook: bool,
    pub(super) temper: Temper,
    /// The router released it.
    pub(super) released: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Temper {
    pub(super) ignores_term: bool,
    pub(super) hangs: bool,
    pub(super) never_drains: bool,
    /// Hangs in the kernel until then, however it is killed.
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
    pub(super) same_message: bool,
}

impl World {
    pub(super) fn supervise(&mut self, key: SlotKey, run: Run, action: &SlotAction) {
        match action {
            SlotAction::Spawn { .. } => self.spawn(key, run),
            SlotAction::Drain { .. } => self.drain(key, run),
            SlotAction::Terminate => self.terminate(key, run),
            SlotAction::Kill => self.kill(key, run),
            SlotAction::Release => {
                if let Some(proc) = self.procs.get_mut(&(key, run)) {
                    proc.released = true;
                }
            }
            SlotAction::Ping { .. } => self.ping(key, run),
            SlotAction::KeepBaseline { .. } => {}
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
            return self.report(
                SlotEvent::SpawnFailed {
                    error: "EADDRINUSE".into(),
                }
                .on(key, run),
            );
        }
        // The request to spawn may itself get lost: then nothing lives, and nothing is reported.
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
            self.report(SlotEvent::Spawned { pid }.on(key.clone(), run));
        }
        if self.dice.chance(nature.dies_early) {
            let (in_ms, code) = (self.dice.between(0, 2_000), self.dice.between(0, 3) as i32);
            self.later(in_ms, Item::Die(key.clone(), run, Exit::Code(code)));
        } else if self.dice.chance(nature.crashes) {
            let in_ms = self.dice.between(500, 120_000);
            self.later(in_ms, Item::Die(key.clone(), run, Exit::Signal(11)));
        }
        if self.dice.chance(nature.handshake_fails) {
            let event = SlotEvent::HandshakeFailed {
                error: "garbage".into(),
            }
            .on(key, run);
            self.report(event);
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
            self.report(SlotEvent::Ready { tools }.on(key.clone(), run));
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

    /// A process ends, and the supervisor notices.
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
            .is_some_and(|nature| nature.same_message);
        let line = if same {
            "boom at line 7".to_owned()
        } else {
            format!("boom {:?}", (run, "x".repeat(run.0 as usize % 7)))
        };
        let evidence = Evidence {
            stderr_tail: vec![line],
            ..Evidence::default()
        };
        if self.is_lost() {
            // Nobody saw it end; that its connection broke is reported all the same.
            self.saw("end lost");
            let error = "end of file".to_owned();
            let key = key.clone();
            return self.report(SlotEvent::UpstreamLost { error }.on(key, run));
        }
        self.report(SlotEvent::Exited { exit, evidence }.on(key.clone(), run));
    }

    fn drain(&mut self, key: SlotKey, run: Run) {
        let is_stubborn = self
            .procs
            .get(&(key.clone(), run))
            .is_some_and(|proc| proc.temper.never_drains);
        if !is_stubborn && !self.is_lost() {
            self.report(SlotEvent::Drained.on(key, run));
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
            self.report(SlotEvent::Exited { exit, evidence }.on(key, run));
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
            self.report(SlotEvent::PingAnswered { rtt_ms: 1.5 }.on(key, run));
        } else {
            self.later(5_000, Item::Deliver(SlotEvent::PingFailed.on(key, run)));
        }
    }

    pub(super) fn ask(&mut self, ask: &Ask) {
        let dice = if self.calm {
            0
        } else {
            self.dice.between(0, 99)
        };
        match dice {
            0..93 => {
                let event = self.answers(ask);
                self.later(0, Item::Deliver(event));
                if !self.calm && self.dice.chance(5) {
                    // A second answer to the same question, and another one at that.
                    let answers = ask.policies.iter().map(|policy| {
                        let reason = reason_prefix(ask.id) + "was answered twice";
                        let answer = match &ask.question {
                            Question::Health { .. } | Question::Breaker { .. } => {
                                Answer::Health(verdict(Health::Unhealthy, reason, true))
                            }
                            Question::Capacity { .. } => plan(reason, Vec::new()),
                        };
                        entry(policy, answer)
                    });
                    let event = answered(ask, answers.collect());
                    let in_ms = self.dice.between(0, 5_000);
                    self.later(in_ms, Item::Deliver(event));
                }
            }
            93..97 => {
                self.saw("late answer");
                let (in_ms, event) = (self.dice.between(1_000, 20_000), self.answers(ask));
                self.later(in_ms, Item::Deliver(event));
            }
            _ => self.saw("question lost"),
        }
    }

    /// What each of the policies answers, if it does.
    fn answers(&mut self, ask: &Ask) -> Event {
        let mut answers = Vec::new();
        for policy in ask.policies.iter() {
            let fails = !self.calm && self.dice.chance(14);
            if fails && self.dice.chance(20) {
                // It is not even mentioned.
                continue;
            }
            let is_mad = !self.calm && self.loaded.is_mad(ask, policy);
            let answer = match &ask.question {
                Question::Health { .. } if is_mad => {
                    let reason = format!("{}was answered so by {policy}", reason_prefix(ask.id));
                    Answer::Health(verdict(Health::Unhealthy, reason, self.dice.chance(50)))
                }
                Question::Health { .. } => Answer::Health(self.verdict(ask.id, policy)),
                Question::Breaker { profile, .. } if is_mad => {
                    let mut plan = crate::breaker::plan::builtin(&profile.configured);
                    let thresholds = &mut plan.thresholds;
                    (thresholds.consecutive_failures, thresholds.min_samples) = (1, 1);
                    thresholds.failure_share = 0.01;
                    Answer::Breaker(Box::new(plan))
                }
                Question::Capacity { .. } if is_mad => {
                    let reason = format!("{}was answered so", reason_prefix(ask.id));
                    plan(reason, vec![limit(Measure::Running, 1)])
                }
                // A policy of another kind than its name is expected to be of.
                Question::Breaker { .. } if !self.calm && self.dice.chance(3) => {
                    Answer::Health(HealthVerdict::healthy())
                }
                Question::Breaker { profile, .. } => {
                    Answer::Breaker(Box::new(self.plan_for(profile)))
                }
                Question::Capacity { .. } => self.capacity_plan(ask.id),
            };
            let mut entry = entry(policy, answer);
            if fails {
                let why = [NoAnswer::TimedOut, NoAnswer::Trapped, NoAnswer::Absent];
                let why = self.dice.pick(&why).copied();
                entry.answer = Err(why.unwrap_or(NoAnswer::Absent));
            }
            answers.push(entry);
        }
        if answers.len() > 1 {
            self.saw("several policies answered");
            if self.dice.chance(50) {
                answers.reverse();
            }
        }
        answered(ask, answers)
    }

    fn verdict(&mut self, question: QuestionId, policy: &str) -> HealthVerdict {
        if self.calm || self.dice.chance(80) {
            return HealthVerdict::healthy();
        }
        let health = if self.dice.chance(50) {
            Health::Degraded
        } else {
            Health::Unhealthy
        };
        let reason = format!("{}was answered so by {policy}", reason_prefix(question));
        verdict(health, reason, self.dice.chance(30))
    }

    /// A capacity plan that can be recognised, and now and then is none.
    fn capacity_plan(&mut self, question: QuestionId) -> Answer {
        let prefix = reason_prefix(question);
        if !self.calm && self.dice.chance(20) {
            let (of, most) = match self.dice.between(0, 2) {
                0 => (Measure::Running, 0),
                1 => (Measure::MemoryBytes, u64::MAX),
                _ => (Measure::RunningOfTemplate("nobody's".into()), 1),
            };
            return plan(format!("{prefix}{FAULTY}"), vec![limit(of, most)]);
        }
        let mut limits = Vec::new();
        if self.dice.chance(50) {
            limits.push(limit(Measure::Running, self.dice.between(1, 3)));
        }
        if self.dice.chance(20) {
            let template = self.dice.pick(&TEMPLATES).copied().unwrap_or_default();
            let of = Measure::RunningOfTemplate(template.into());
            limits.push(limit(of, self.dice.between(1, 2)));
        }
        if self.dice.chance(20) {
            let most = self.dice.between(1, 2_000) << 20;
            limits.push(limit(Measure::MemoryBytes, most));
        }
        if self.dice.chance(10) {
            limits.push(limit(Measure::InFlight, self.dice.between(1, 5)));
        }
        plan(format!("{prefix}was answered so"), limits)
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
                    4 * self.dice.between(0, 15)
                },
                window_p50_ms: Some(if self.dice.chance(10) { 300.0 } else { 8.0 }),
                window_p95_ms: Some(12.0),
                window_p99_ms: Some(400.0),
            };
            self.report(SlotEvent::Sampled { sample }.on(key, run));
        }
        let measure = LoadMeasure {
            unix_ms: UNIX_MS + self.now_ms,
            memory_total_bytes: 1 << 40,
            ..LoadMeasure::default()
        };
        self.deliver(FleetEvent::LoadMeasured(Box::new(measure)));
        let totals: Vec<_> = self
            .cells
            .iter()
            .map(|(id, cell)| (id.clone(), cell.totals()))
            .collect();
        let mut of_tools = BTreeMap::<_, Vec<_>>::new();
        for ((instance, tool), cell) in &self.tool_cells {
            let totals = of_tools.entry(instance.clone()).or_default();
            totals.push((Arc::clone(tool), cell.totals()));
        }
        for (instance, totals) in of_tools {
            let event = TrafficEvent::ToolsCounted { instance, totals };
            self.later(0, Item::Deliver(Event::Traffic(event)));
        }
        for (instance, totals) in totals {
            self.later(
                0,
                Item::Deliver(Event::Traffic(TrafficEvent::Counted { instance, totals })),
            );
        }
    }
}

fn verdict(health: Health, reason: String, recycle: bool) -> HealthVerdict {
    HealthVerdict {
        health,
        reason,
        recycle,
        attributes: Vec::new(),
    }
}

/// What a plan says that is none.
pub(super) const FAULTY: &str = "was answered by a faulty plan";

fn limit(of: Measure, most: u64) -> Limit {
    Limit {
        of,
        most,
        refusal: String::new(),
        attributes: Vec::new(),
    }
}

fn plan(reason: String, limits: Vec<Limit>) -> Answer {
    Answer::Capacity(Box::new(CapacityPlan {
        reason,
        limits,
        ..CapacityPlan::default()
    }))
}

fn entry(policy: &Arc<str>, answer: Answer) -> PolicyAnswer {
    PolicyAnswer {
        policy: Arc::clone(policy),
        answer: Ok(answer),
    }
}

fn answered(ask: &Ask, answers: Vec<PolicyAnswer>) -> Event {
    let question = ask.id;
    Event::Policy(PolicyEvent::Answered { question, answers })
}
