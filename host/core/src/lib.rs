//! Pure decisions of the router: no tokio, no clock, no randomness of its own, no I/O, no wasmtime.
//!
//! Everything here takes `now` and facts, and returns decisions. The rooms that do I/O depend on this
//! crate for their types; this crate depends on none of them.
//!
//! # How to drive it
//! One loop owns the [`Fleet`]. It feeds every [`event::Event`] as it comes, performs the [`action::Action`]s in their order,
//! and sends `Tick` when [`Fleet::next_wake`] says so, on one monotonic clock whose origin never changes:
//!
//! ```
//! use router_core::{Fleet, InstanceId, Now, SlotKey, action::{Action, SlotAction}, event::{FleetEvent, SlotEvent},
//!     settings::Settings, spec::{InstanceSpec, Source}};
//!
//! let mut fleet = Fleet::new(Settings::default()); // `first_run` must grow from one life of the router to the next
//! let mut out = Vec::new();
//! let demo = InstanceId::parse("demo").expect("letters are an id");
//! let specs = vec![InstanceSpec { autostart: true, ..InstanceSpec::new(demo.clone(), Source::Config, 1) }];
//! // 1. What every source defines; `Database(false)` where the store cannot be read, so that its survivors are left alone.
//! fleet.step(Now::at(0), FleetEvent::SpecsApplied { source: Source::Config, specs }.into(), &mut out);
//! // 2. One `Adopted` for each survivor of an earlier router, then: from now on slots may start.
//! fleet.step(Now::at(5), FleetEvent::AdoptionFinished.into(), &mut out);
//! let started = out.into_iter().find_map(|action| match action {
//!     Action::Slot { key, run, action: SlotAction::Spawn { .. } } => Some((key, run)),
//!     _ => None,
//! });
//! // 3. What becomes of it. Reports may be late, doubled or lost; but every `Kill` is finally answered by `Exited`.
//! let (key, run) = started.expect("what is wanted is started");
//! fleet.step(Now::at(400), SlotEvent::Ready { tools: vec!["ping".into()] }.on(key, run), &mut Vec::new());
//! // 4. What people see, and when the core wants to be woken.
//! assert_eq!(fleet.view(Now::at(401)).summary.healthy, 1);
//! assert_eq!(fleet.next_wake(), Some(10_400)); // to judge it anew, and to ping it
//! ```
//!
//! - `SetRoute` and `SetBreaker` feed what requests read; a request never waits for a step but for a start.
//! - Read the cells' counters for `Counted` only after the `Outcome`s that are already queued: many requests that die with one
//!   run are one failure, and it is the outcomes that say so.
//! - When a source's definition was refused (`SpecRefused`) and the holder later goes, apply the other sources again: the core
//!   does not keep what it refused. With the store back, apply its definitions first and say `Database(true)` then.
//! - `Shutdown` is over with `AllStopped`. A process that cannot be killed holds it up: the wait for it must be bounded.
//! - A slot's wait that exceeds every bound (what cannot be ended, an adoption that never finishes) shows as a transition
//!   from a lifecycle state to the same state, with the reason, and as `degraded` readiness.
//!
//! Where things are decided: `fleet/events` takes an event in, and what it touched settles; `fleet/index` keeps what the fleet must
//! know without going through its instances; `slot` is the state machine of one process place; `failure_tally` and `backoff`
//! decide about failures, `breaker` and [`permit`] about admission, [`health`] makes one verdict of what policies answered,
//! [`capacity`] says what a plan is, and `fleet/capacity` which one is in force,
//! `fleet/trials` says which generation of a policy is applied and which is held, `fleet/readiness` judges the whole. `simulation` (tests only) is the proof.
//!
//! A further kind of policy is a case of [`policy::Question`] and [`policy::Answer`], and its handler in `fleet/events`.

pub mod action;
mod backoff;
pub mod breaker;
pub mod capacity;
mod cell_state;
pub mod classify;
mod error_kind;
pub mod event;
mod failure;
mod failure_tally;
pub mod fleet;
pub mod health;
pub mod id;
mod instance;
pub mod jitter;
pub mod loss;
pub mod permit;
mod planted;
pub mod policy;
mod role;
pub mod route;
pub mod settings;
#[cfg(test)]
mod simulation;
mod slot;
pub mod spec;
mod step;
mod sync;
pub mod time;
pub mod view;

pub use error_kind::ErrorKind;
pub use fleet::Fleet;
pub use id::{InstanceId, Run, SlotKey};
pub use role::{InvalidRole, Role};
pub use time::Now;
