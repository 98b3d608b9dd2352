//! Everything at once, in an order that a seed decides: launches, stops, murders and changes of the router. Whatever
//! happens, every run ends in one `Exited` after which nothing of it lives, and at the end nothing is left.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use godot_mcp_shim::{
    record::{self, LockState, SlotRecord},
    tree::Identity,
};
use router_core::Run;
use router_supervisor::{LaunchSpec, SupervisorEvent};
use rustix::process::Signal;

use super::harness::{DEADLINE, Router, Yard, key, pause, ponger, sh, with_entry};

const SLOTS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// A seed takes a second or two.
const SEEDS: u64 = 16;
const STEPS: usize = 400;

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Idle,
    Asked(Run),
    Live(Run),
}

struct Chaos {
    yard: Yard,
    router: Router,
    states: BTreeMap<&'static str, State>,
    /// Runs whose launch was under way when their router went, and of which the next one saw nothing: their shims may still come.
    under_way: BTreeSet<Run>,
    next_run: u64,
    random: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_random_faults_nothing_is_left_and_nothing_is_reported_twice() {
    for seed in 1..=SEEDS {
        println!("seed {seed}");
        let yard = Yard::new();
        let router = yard.router_with(|config| config.use_cgroup = seed % 2 == 0);
        let states = SLOTS.into_iter().map(|slot| (slot, State::Idle)).collect();
        let mut chaos = Chaos {
            yard,
            router,
            states,
            under_way: BTreeSet::new(),
            next_run: 1,
            random: seed,
        };
        for _ in 0..STEPS {
            chaos.step().await;
        }
        chaos.settle().await;
    }
}

impl Chaos {
    /// Xorshift with a multiplier (Vigna 2016): good enough to choose, and the same for a seed everywhere.
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    async fn step(&mut self) {
        self.drain_events();
        let slot = SLOTS[usize::try_from(self.below(SLOTS.len() as u64)).unwrap()];
        if self.below(25) == 0 {
            self.change_router().await;
            return;
        }
        let impatient = self.below(4) == 0;
        let state = self.states[slot];
        match state {
            State::Idle => self.launch(slot),
            State::Asked(run) if impatient => self.router.supervisor.kill(&key(slot), run),
            State::Asked(_) => pause().await,
            State::Live(run) => self.disturb(slot, run).await,
        }
    }

    fn launch(&mut self, slot: &'static str) {
        let run = Run(self.next_run);
        self.next_run += 1;
        let spec = match self.below(5) {
            0 => sh("exit 1"),
            1 => LaunchSpec::stdio("no-such-command", [""; 0]),
            2 => sh(
                "trap '' TERM; (setsid sleep 300 &) & setsid sh -c 'sleep 300 & wait' & while :; do sleep 300; done",
            ),
            _ => ponger(),
        };
        let env = vec![("CHAOS_RUN".to_owned(), self.entry_value(run))];
        self.router
            .supervisor
            .launch(key(slot), run, LaunchSpec { env, ..spec });
        self.states.insert(slot, State::Asked(run));
    }

    async fn disturb(&mut self, slot: &'static str, run: Run) {
        match self.below(9) {
            0 => self.router.supervisor.kill(&key(slot), run),
            1 => self
                .router
                .supervisor
                .stop(&key(slot), run, Duration::from_millis(50)),
            2 => self.murder(slot, Signal::KILL, |record| Some(record.shim)),
            3 => self.murder(slot, Signal::KILL, |record| record.child),
            4 => self.murder(slot, Signal::TERM, |record| Some(record.shim)),
            5 => {
                self.murder(slot, Signal::KILL, |record| record.child);
                self.murder(slot, Signal::KILL, |record| Some(record.shim));
            }
            6 => self
                .router
                .supervisor
                .put_blob(&key(slot), run, vec![9; 1000]),
            _ => pause().await,
        }
    }

    fn murder(&self, slot: &str, signal: Signal, whom: impl Fn(&SlotRecord) -> Option<Identity>) {
        if let Ok(LockState::Held(Some(record))) = record::inspect(&self.yard.lock(slot)) {
            let _gone_already = whom(&record).is_some_and(|one| one.signal(signal));
        }
    }

    /// The router goes, politely or not, and another one of the same name comes.
    async fn change_router(&mut self) {
        if self.below(2) == 0 {
            self.router.supervisor.release_all().await;
        }
        self.drain_events();
        let use_cgroup = self.below(2) == 0;
        let next = self
            .yard
            .router_with(|config| config.use_cgroup = use_cgroup);
        let former = std::mem::replace(&mut self.router, next);
        drop(former);
        self.router.supervisor.adopt_all();
        let mut seen = BTreeMap::new();
        loop {
            match self.router.next().await {
                SupervisorEvent::AdoptionFinished { .. } => break,
                SupervisorEvent::Adopted { key, run, .. } => {
                    seen.insert(key.instance.to_string(), State::Live(run));
                }
                // It failed where the former router's launch was still under way.
                SupervisorEvent::Exited { key, run, .. }
                | SupervisorEvent::SpawnFailed { key, run, .. } => {
                    self.assert_dead(run);
                    seen.insert(key.instance.to_string(), State::Idle);
                }
                SupervisorEvent::ShimLost { .. } => {}
                other => panic!("unexpected during adoption: {other:?}"),
            }
        }
        for slot in SLOTS {
            let now = seen.get(slot).copied().unwrap_or(State::Idle);
            match (self.states[slot], now) {
                // The shim of an earlier launch came after the adoption before this one: it has the slot, and what was asked for then
                // never lives beside it.
                (State::Asked(run), State::Live(found)) if self.under_way.contains(&found) => {
                    self.assert_dead(run);
                }
                (State::Asked(run) | State::Live(run), State::Live(found)) => {
                    assert_eq!(run, found, "{slot}");
                }
                (State::Asked(run), State::Idle) if !seen.contains_key(slot) => {
                    self.under_way.insert(run);
                }
                _ => {}
            }
            self.states.insert(slot, now);
        }
    }

    /// Takes in what has happened.
    fn drain_events(&mut self) {
        while let Some(event) = self.router.arrived() {
            self.apply(event);
        }
    }

    fn apply(&mut self, event: SupervisorEvent) {
        // Shown where the test fails.
        println!("{event:?}");
        let slot_of = |key: &router_core::SlotKey| {
            SLOTS
                .into_iter()
                .find(|slot| *slot == key.instance.as_str())
                .unwrap()
        };
        match event {
            SupervisorEvent::Started { key, run, .. } => {
                let slot = slot_of(&key);
                assert_eq!(self.states[slot], State::Asked(run), "{slot}");
                self.states.insert(slot, State::Live(run));
            }
            SupervisorEvent::SpawnFailed { key, run, .. } => {
                let slot = slot_of(&key);
                assert_eq!(self.states[slot], State::Asked(run), "{slot}");
                self.assert_dead(run);
                self.states.insert(slot, State::Idle);
            }
            SupervisorEvent::Exited { key, run, exit } => {
                let slot = slot_of(&key);
                self.assert_dead(run);
                assert!(exit.survivors.is_empty(), "{exit:?}");
                if self.states[slot] == State::Live(run) {
                    self.states.insert(slot, State::Idle);
                } else {
                    // The answer to a kill that came too late, or to one of a run that never lived.
                    assert_eq!(
                        exit.cause,
                        router_supervisor::ExitCause::NeverLived,
                        "{slot} {run}"
                    );
                }
            }
            SupervisorEvent::ShimLost { key, run } => {
                assert_eq!(self.states[slot_of(&key)], State::Live(run));
            }
            SupervisorEvent::Memory { .. } => {}
            other => panic!("unexpected: {other:?}"),
        }
    }

    fn assert_dead(&self, run: Run) {
        let entry = format!("CHAOS_RUN={}", self.entry_value(run));
        let alive = with_entry(|one| one == entry.as_bytes());
        assert!(alive.is_empty(), "of {run} live {alive:?}");
    }

    fn entry_value(&self, run: Run) -> String {
        format!("{}:{run}", self.yard.path().display())
    }

    async fn settle(mut self) {
        let end = Instant::now() + DEADLINE;
        for slot in SLOTS {
            if let State::Asked(run) | State::Live(run) = self.states[slot] {
                self.router.supervisor.kill(&key(slot), run);
            }
        }
        while self.states.values().any(|state| *state != State::Idle) {
            assert!(
                Instant::now() < end,
                "not everything has ended: {:?}",
                self.states
            );
            let event = self.router.next().await;
            self.apply(event);
        }
        self.yard.assert_clean().await;
    }
}
