//! People, sources and accidents: commands, reloads, adoption, lost shims, the database, calm, and the end.

use std::sync::Arc;

use super::{
    dice::Dice,
    supervisor::{Character, Proc, Temper},
    world::{Item, World},
};
use crate::{
    InstanceId, Run, SlotKey,
    event::{Adopted, Command, Event, Exit, FleetEvent, PolicyEvent, SlotEvent, Verb},
    policy::{PolicyKind, PolicyNames},
    settings::{BreakerThresholds, Settings},
    spec::{InstanceSpec, Source},
};

/// The templates that are configured.
pub(super) const TEMPLATES: [&str; 2] = ["t0", "t1"];

/// The shape of one story.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) over_ms: u64,
    pub(super) chaos_ms: u64,
    pub(super) clients_ms: u64,
    pub(super) sample_ms: u64,
}

impl Plan {
    pub(super) fn new(dice: &mut Dice) -> Self {
        Self {
            over_ms: u64::MAX,
            chaos_ms: *dice.pick(&[1_500, 5_000, 30_000]).unwrap_or(&5_000),
            clients_ms: *dice.pick(&[1_000, 4_000, 30_000]).unwrap_or(&4_000),
            sample_ms: *dice.pick(&[5_000, 20_000]).unwrap_or(&5_000),
        }
    }

    pub(super) fn settings(seed: u64, dice: &mut Dice) -> Settings {
        let mut settings = Settings {
            seed,
            first_run: 100,
            ..Settings::default()
        };
        if dice.chance(70) {
            settings.health_policies = Self::policies(dice);
        }
        if dice.chance(60) {
            settings.breaker_policy = Self::breaker_policy(dice);
        }
        settings.plan_questions_max = *dice.pick(&[1, 2, 64]).unwrap_or(&64);
        settings.capacity_policy = Self::capacity_policy(dice);
        settings.templates = TEMPLATES.map(Arc::from).into();
        Self::vary_some(&mut settings, dice);
        settings
    }

    fn capacity_policy(dice: &mut Dice) -> Option<Arc<str>> {
        let policies: [&str; 3] = ["default-capacity", "default-capacity", "other-capacity"];
        let name = dice.chance(60).then(|| dice.pick(&policies).copied());
        name.flatten().map(Arc::from)
    }

    /// One health policy, or several.
    fn policies(dice: &mut Dice) -> PolicyNames {
        let all: [Arc<str>; 3] = ["default-health".into(), "another".into(), "third".into()];
        let count = *dice.pick(&[1, 1, 2, 3]).unwrap_or(&1);
        all[..count].into()
    }

    fn breaker_policy(dice: &mut Dice) -> PolicyNames {
        let all: [Arc<str>; 2] = ["default-breaker".into(), "own-breaker".into()];
        let at = usize::from(dice.chance(30));
        all[at..=at].into()
    }

    /// Every number that an operator may change, now and then.
    fn vary_some(settings: &mut Settings, dice: &mut Dice) {
        let mut pick = |now: u64, from: &[u64]| {
            if dice.chance(30) {
                dice.pick(from).copied().unwrap_or(now)
            } else {
                now
            }
        };
        let breaker = &mut settings.breaker;
        breaker.permits = pick(u64::from(breaker.permits), &[1, 2, 4]) as u32;
        breaker.successes = pick(u64::from(breaker.successes), &[1, 2, 3]) as u32;
        breaker.consecutive_failures =
            pick(u64::from(breaker.consecutive_failures), &[2, 3, 5]) as u32;
        breaker.open_first_ms = pick(breaker.open_first_ms, &[2_000, 30_000]);
        breaker.forget_after_ms = pick(breaker.forget_after_ms, &[10_000, 60_000, 600_000]);
        let crash_loop = &mut settings.crash_loop;
        crash_loop.failures = pick(u64::from(crash_loop.failures), &[3, 5, 8]) as u32;
        crash_loop.same_signature = pick(u64::from(crash_loop.same_signature), &[2, 3, 9]) as u32;
        crash_loop.window_ms = pick(crash_loop.window_ms, &[120_000, 300_000]);
        let retry_ms = pick(
            crash_loop.slow_retry_ms.unwrap_or(0),
            &[0, 20_000, 120_000, 600_000],
        );
        crash_loop.slow_retry_ms = (retry_ms > 0).then_some(retry_ms);
        settings.restart.forget_after_ms =
            pick(settings.restart.forget_after_ms, &[20_000, 60_000, 600_000]);
        settings.health_every_ms = pick(settings.health_every_ms, &[5_000, 10_000, 60_000]);
        settings.capacity_every_ms = pick(settings.capacity_every_ms, &[10_000, 60_000]);
        settings.capacity_pause_ms = pick(settings.capacity_pause_ms, &[0, 1_000, 5_000]);
        settings.ping_every_ms = pick(settings.ping_every_ms, &[10_000, 60_000]);
        settings.term_ms = pick(settings.term_ms, &[0, 2_000, 5_000]);
        settings.max_recycling =
            pick((settings.max_recycling * 100.0) as u64, &[20, 60, 100]) as f64 / 100.0;
        settings.recycle_every_ms = pick(settings.recycle_every_ms, &[120_000, 600_000]);
        settings.unable_ms = pick(settings.unable_ms, &[0, 3_000, 10_000]);
    }
}

impl World {
    /// The start of a router: definitions, survivors, and then the rest of the story.
    pub(super) fn begin(&mut self) {
        for n in 0..self.dice.between(1, 4) {
            let id = InstanceId::parse(&format!("i{n}")).expect("a letter and a digit are an id");
            self.define(&id);
        }
        let config = self.set_of(Source::Config);
        self.later(0, Item::Deliver(config));
        if self.dice.chance(10) {
            // The store cannot be read: what was registered there is not known for a while.
            self.later(0, Item::Deliver(Event::Fleet(FleetEvent::Database(false))));
            let known_ms = self.dice.between(5_000, 60_000);
            self.later(known_ms, Item::StoreIsBack);
        } else {
            let api = self.set_of(Source::Api);
            self.later(0, Item::Deliver(api));
        }
        let adopts = self.dice.chance(40);
        if adopts {
            self.survivors();
        }
        let finish_ms = match (adopts, self.dice.chance(5)) {
            (false, _) => 1,
            (true, false) => self.dice.between(100, 3_000),
            (true, true) => self.dice.between(3_000, 60_000),
        };
        self.later(
            finish_ms,
            Item::Deliver(Event::Fleet(FleetEvent::AdoptionFinished)),
        );
        self.later(1, Item::Sample);
        self.later(2, Item::Clients);
        self.later(3, Item::Chaos);
        let mut end_ms = *self
            .dice
            .pick(&[20_000, 60_000, 120_000, 300_000, 900_000, 900_000])
            .unwrap_or(&120_000);
        if self.dice.chance(25) {
            self.later(end_ms, Item::Calm);
            end_ms += self.dice.between(710_000, 800_000);
            self.later(end_ms - 1, Item::CalmIsOver);
        }
        self.later(end_ms, Item::End);
        self.plan.over_ms = self.now_ms + end_ms + 400_000;
    }

    fn define(&mut self, id: &InstanceId) {
        let source = if self.dice.chance(70) {
            Source::Config
        } else {
            Source::Api
        };
        let mut spec = InstanceSpec::new(id.clone(), source, self.dice.between(1, 3));
        spec.autostart = self.dice.chance(60);
        spec.stopped = self.dice.chance(5);
        let template = self.dice.pick(&TEMPLATES).copied();
        spec.template = template.unwrap_or_default().into();
        spec.keep_on_exit = self.dice.chance(40);
        spec.drain_ms = *self.dice.pick(&[0, 3_000, 10_000]).unwrap_or(&10_000);
        spec.max_slots = if self.dice.chance(15) { 3 } else { 1 };
        spec.idle_stop_ms = self
            .dice
            .pick(&[None, Some(1_800_000), Some(30_000)])
            .copied()
            .flatten();
        spec.max_memory_bytes = self.dice.chance(70).then_some(100 << 20);
        spec.max_processes = self.dice.chance(50).then_some(8);
        spec.permanent_exit_codes = if self.dice.chance(20) {
            vec![3]
        } else {
            Vec::new()
        };
        if self.dice.chance(15) {
            spec.breaker = Some(BreakerThresholds {
                permits: 1,
                successes: 1,
                ..BreakerThresholds::default()
            });
        }
        if self.dice.chance(15) {
            spec.breaker_policy = Some(if self.dice.chance(50) {
                Plan::breaker_policy(&mut self.dice)
            } else {
                PolicyNames::default()
            });
        }
        self.specs.insert(id.clone(), spec);
        let nature = self.nature();
        self.characters.insert(id.clone(), nature);
    }

    fn nature(&mut self) -> Character {
        let mut often = |percent| if self.dice.chance(15) { percent } else { 0 };
        Character {
            spawn_fails: often(60).max(2),
            never_ready: often(60).max(2),
            handshake_fails: often(60).max(2),
            dies_early: often(90).max(3),
            crashes: often(100).max(5),
            ignores_term: often(100).max(5),
            hangs: often(50),
            requests_fail: often(60).max(often(95)).max(2),
            grows: often(40),
            breeds: often(20),
            same_message: often(100) > 0,
        }
    }

    pub(super) fn store_is_back(&mut self) {
        let event = self.set_of(Source::Api);
        self.deliver(event);
        self.deliver(FleetEvent::Database(true));
    }

    fn set_of(&self, source: Source) -> Event {
        let specs = self
            .specs
            .values()
            .filter(|spec| spec.source == source)
            .cloned()
            .collect();
        Event::Fleet(FleetEvent::SpecsApplied { source, specs })
    }

    /// What an earlier router left running: of defined instances and others, now and then two for one slot.
    fn survivors(&mut self) {
        let mut ids: Vec<InstanceId> = self.specs.keys().cloned().collect();
        ids.push(InstanceId::parse("orphan").expect("letters are an id"));
        let mut run = self.dice.between(50, 150);
        for id in ids {
            let count = *self.dice.pick(&[0, 1, 1, 1, 2]).unwrap_or(&1);
            for _ in 0..count {
                run += 1;
                self.survivor(SlotKey::first(id.clone()), Run(run));
            }
        }
    }

    fn survivor(&mut self, key: SlotKey, run: Run) {
        let now_digest = self.specs.get(&key.instance).map_or(1, |spec| spec.digest);
        let digest = if self.dice.chance(80) {
            now_digest
        } else {
            now_digest + 1
        };
        let handshook = self.dice.chance(80);
        let proc = Proc {
            alive: true,
            handshook,
            temper: Temper {
                ignores_term: self.dice.chance(10),
                ..Temper::default()
            },
            released: false,
        };
        self.procs.insert((key.clone(), run), proc);
        let tools = if handshook { Some(self.tools()) } else { None };
        let baseline = if self.dice.chance(50) {
            Some(self.tools())
        } else {
            None
        };
        let adopted = Adopted {
            key: key.clone(),
            run,
            pid: 1_000 + run.0 as u32,
            digest,
            tools,
            baseline,
            age_ms: self.dice.between(0, 1_000_000),
            wanted: self.dice.chance(85),
        };
        let in_ms = self.dice.between(1, 90);
        self.later(
            in_ms,
            Item::Deliver(Event::Fleet(FleetEvent::Adopted(Box::new(adopted)))),
        );
        if !handshook {
            self.later(in_ms + 400, Item::Handshake(key, run));
        }
    }

    /// Something happens that nobody planned.
    pub(super) fn chaos(&mut self) {
        if self.calm {
            return;
        }
        let in_ms = self.dice.between(1, self.plan.chaos_ms);
        self.later(in_ms, Item::Chaos);
        let ids: Vec<InstanceId> = self.specs.keys().cloned().collect();
        let Some(id) = self.dice.pick(&ids).cloned() else {
            return;
        };
        match self.dice.between(0, 99) {
            0..35 => self.some_command(&id),
            35..47 => self.accident(),
            47..60 => self.some_reload(&id),
            60..62 => self.deliver(PolicyEvent::Changed(PolicyKind::Health)),
            62..64 => self.deliver(PolicyEvent::Changed(PolicyKind::Breaker)),
            64..66 => self.deliver(PolicyEvent::Changed(PolicyKind::Capacity)),
            66..71 => {
                let reached = self.dice.chance(50);
                self.deliver(FleetEvent::Database(reached));
            }
            71..75 => {
                let drawn = self.dice.between(0, 100);
                self.deliver(FleetEvent::Disk(drawn as f64 / 100.0));
                self.deliver(FleetEvent::AlertJournal(!drawn.is_multiple_of(3)));
            }
            75..79 => {
                let drawn = self.dice.between(0, 8);
                let faults = (0..drawn / 3).map(|n| format!("policy p{n}: it is not there"));
                self.deliver(FleetEvent::Plugins {
                    quarantined: (drawn % 3) as u32,
                    faults: faults.collect(),
                });
            }
            79..84 => {
                let mut settings = self.settings.clone();
                Plan::vary_some(&mut settings, &mut self.dice);
                if self.dice.chance(20) {
                    settings.health_policies = if self.dice.chance(70) {
                        Plan::policies(&mut self.dice)
                    } else {
                        PolicyNames::default()
                    };
                }
                if self.dice.chance(20) {
                    settings.breaker_policy = if self.dice.chance(70) {
                        Plan::breaker_policy(&mut self.dice)
                    } else {
                        PolicyNames::default()
                    };
                }
                if self.dice.chance(20) {
                    settings.capacity_policy = Plan::capacity_policy(&mut self.dice);
                }
                self.saw("settings changed");
                self.deliver(FleetEvent::SettingsApplied(Box::new(settings)));
            }
            84..90 => {
                let nature = self.nature();
                self.characters.insert(id, nature);
            }
            90..93 => self.outage(),
            93..98 => self.some_generation(),
            _ => {}
        }
    }

    /// What all instances need is gone for a while: every request to any of them fails.
    fn outage(&mut self) {
        self.outage_until_ms = self.now_ms + self.dice.between(3_000, 40_000);
        self.burst();
    }

    fn some_command(&mut self, instance: &InstanceId) {
        let verbs = [
            Verb::Start,
            Verb::Stop,
            Verb::Restart,
            Verb::Restart,
            Verb::ClearState,
            Verb::BreakerIsolate,
            Verb::BreakerReset,
        ];
        // Impatient people repeat themselves.
        for _ in 0..self.dice.between(1, 3) {
            let verb = *self.dice.pick(&verbs).unwrap_or(&Verb::Restart);
            self.order(instance.clone(), verb);
        }
    }

    fn order(&mut self, instance: InstanceId, verb: Verb) {
        let id = self.next_order();
        let in_ms = if self.dice.chance(60) {
            0
        } else {
            self.dice.between(0, 3_000)
        };
        self.later(
            in_ms,
            Item::Deliver(Event::Operator(Command { id, instance, verb })),
        );
    }

    fn accident(&mut self) {
        let live = self
            .procs
            .iter()
            .filter(|(at, proc)| proc.alive && !proc.released && self.reported.contains(at));
        let live: Vec<(SlotKey, Run)> = live.map(|(at, _)| at.clone()).collect();
        let Some((key, run)) = self.dice.pick(&live).cloned() else {
            return;
        };
        match self.dice.between(0, 5) {
            0 => {
                self.saw("shim lost");
                self.report(SlotEvent::ShimLost.on(key, run));
            }
            1 => self.report(
                SlotEvent::UpstreamLost {
                    error: "end of file".into(),
                }
                .on(key, run),
            ),
            2 => self.die(&key, run, Exit::Signal(9)),
            // A shutdown may take as long as a process hangs, so not for ever.
            4 if !self.shutting_down() => {
                let until_ms = self.now_ms + self.dice.between(10_000, 120_000);
                if let Some(proc) = self.procs.get_mut(&(key.clone(), run)) {
                    proc.temper.unkillable_until_ms = until_ms;
                }
                self.report(SlotEvent::ShimLost.on(key, run));
            }
            3 => {
                let tools = self.tools();
                self.report(SlotEvent::ToolsListed { tools }.on(key, run));
            }
            // A report about a run that is long gone, or never was.
            _ => {
                let run = Run(run.0.saturating_sub(self.dice.between(1, 5)));
                let tools = self.tools();
                self.report(SlotEvent::Ready { tools }.on(key, run));
            }
        }
    }

    /// The file, or the API, says something else now.
    fn some_reload(&mut self, id: &InstanceId) {
        let known = self.specs.get(id).cloned();
        let source = known.as_ref().map_or(Source::Config, |spec| spec.source);
        match (self.dice.between(0, 9), known) {
            (0..2, Some(_)) => {
                self.specs.remove(id);
                if self.dice.chance(50) {
                    return self.deliver(FleetEvent::SpecRemoved(id.clone()));
                }
            }
            (2..4, Some(mut spec)) => {
                if self.dice.chance(60) {
                    spec.digest += 1;
                } else {
                    spec.autostart = self.dice.chance(60);
                    spec.keep_on_exit = self.dice.chance(50);
                    spec.max_memory_bytes = self.dice.chance(70).then_some(120 << 20);
                    spec.max_processes = self.dice.chance(50).then_some(6);
                    spec.idle_stop_ms = self.dice.chance(50).then_some(30_000);
                }
                self.specs.insert(id.clone(), spec);
            }
            (4..6, _) => {
                let id =
                    InstanceId::parse(&format!("i{}", self.dice.between(0, 5))).expect("an id");
                if !self.specs.contains_key(&id) {
                    self.define(&id);
                    let spec = self.specs.get(&id).cloned();
                    return spec
                        .into_iter()
                        .for_each(|spec| self.deliver(FleetEvent::SpecAdded(Box::new(spec))));
                }
            }
            (6, Some(mut spec)) => {
                // Another source claims the id: it must be refused.
                spec.source = Source::Discovery;
                spec.digest += 77;
                return self.deliver(FleetEvent::SpecAdded(Box::new(spec)));
            }
            _ => self.saw("reload without a change"),
        }
        let event = self.set_of(source);
        self.deliver(event);
    }

    /// From here on everything behaves: what is wanted must come up, by an operator's hand or by itself.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        self.clear_troubles();
        for nature in self.characters.values_mut() {
            *nature = Character::default();
        }
        for proc in self.procs.values_mut() {
            proc.temper = Temper::default();
        }
        if self.dice.chance(50) {
            // What was on its way to the core may still come, and fail what is restarted too early.
            self.later(30_000, Item::RestartAll);
        }
    }

    /// An operator restarts everything.
    pub(super) fn restart_all(&mut self) {
        self.watched.by_hand = true;
        let known = self.before.instances.iter();
        let ids: Vec<InstanceId> = known.map(|view| view.id.clone()).collect();
        for id in ids {
            self.order(id.clone(), Verb::BreakerReset);
            self.order(id, Verb::Restart);
            self.saw("manual restart");
        }
    }
}
