//! The kinds of plugin: what the engine must know of each, and how it stays free of their types.
//!
//! A kind is one module here: its bindings, its question and answer and how they cross, its world and its budget. It stands in
//! [`SERVED`], and its question is a method of the engine (`questions.rs`). Loading, limits, swap, quarantine, history and
//! values are the same for all.

pub(crate) mod breaker;
pub(crate) mod capacity;
pub(crate) mod health;
pub(crate) mod rule;
pub(crate) mod sink;

use std::{any::Any, fmt, future::Future, sync::Arc, time::Duration};

use serde_json::{Map, Value};
use wasmtime::{
    Store,
    component::{Instance, InstancePre, Linker},
};

use crate::{bindings::types::Setting, failure::CallFailure, guest::GuestState};
pub(crate) use breaker::BreakerKind;
pub(crate) use capacity::CapacityKind;
pub(crate) use health::HealthKind;
pub(crate) use rule::RuleKind;
pub(crate) use sink::SinkKind;

/// The kinds of this version.
pub(crate) const SERVED: &[Served] = &[
    Served::of::<HealthKind>(),
    Served::of::<BreakerKind>(),
    Served::of::<CapacityKind>(),
    Served::of::<RuleKind>(),
    Served::of::<SinkKind>(),
];

/// What a plugin counts as whose kind is not known, because nothing of it was ever loaded and nothing names it.
pub const DEFAULT_WORLD: &str = HealthKind::CONTRACT.world;

/// One kind of plugin.
pub(crate) trait Kind: fmt::Debug + Send + Sync + Sized + 'static {
    /// Its names and its budget.
    const CONTRACT: &'static Contract;

    /// What is asked.
    type Question: fmt::Debug + Send + Sync + 'static;

    /// What a plugin answers.
    type Answer: Clone + fmt::Debug + Send + Sync + 'static;

    /// The functions that a component of this kind exports, of one instance.
    type Exports: Send + Sync + 'static;

    /// Adds what only this kind may import.
    ///
    /// # Errors
    /// wasmtime refuses it.
    fn link(_: &mut Linker<GuestState>) -> wasmtime::Result<()> {
        Ok(())
    }

    /// Finds the exported functions, to load them from each instance.
    ///
    /// # Errors
    /// One is missing.
    fn find(component: &InstancePre<GuestState>) -> wasmtime::Result<Load<Self::Exports>>;

    /// Asks. What the answer holds must be cut to what `wit/` states.
    fn call(
        exports: &Self::Exports,
        store: &mut Store<GuestState>,
        question: &Self::Question,
        settings: &[Setting],
    ) -> impl Future<Output = wasmtime::Result<Self::Answer>> + Send;

    /// A question and its answer as operators see them in the API.
    fn show(question: &Self::Question, answer: Option<&Self::Answer>) -> Map<String, Value>;

    /// What they take in memory beyond their own size, about.
    fn bytes(question: &Self::Question, answer: Option<&Self::Answer>) -> usize;
}

/// Loads exported functions from an instance.
pub(crate) type Load<E> =
    Box<dyn Fn(&mut Store<GuestState>, &Instance) -> wasmtime::Result<E> + Send + Sync>;

/// By what the components of a kind are known, and what their calls may take.
#[derive(Debug)]
pub(crate) struct Contract {
    /// The world, as in `wit/worlds.wit`.
    pub(crate) world: &'static str,
    /// The exported interface that holds the question, with its version: it identifies the kind.
    pub(crate) question: &'static str,
    /// The interfaces that the world may import beside those of every kind.
    pub(crate) imports: &'static [&'static str],
    /// What is loaded and asked of a plugin of this kind.
    pub(crate) unit: Unit,
    /// What calls may take.
    pub(crate) budget: Budget,
}

/// What is loaded with settings of its own, limited, quarantined and asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// The plugin: there is one.
    Plugin,
    /// Each sink that names the plugin (`sinks.rs`).
    Sink,
}

/// What the calls of a kind may take beside [`crate::Limits`], which are the operator's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Calls of one plugin that may be in progress at once: each has a store, with the memory of one.
    pub(crate) calls_max: u32,
    /// How long a call may take by the clock, by what it may run. More than that: on a machine that is busy with requests a guest
    /// waits for the processor, and some kinds wait for others in calls to the host.
    pub(crate) wall: fn(Duration) -> Duration,
    /// Bytes that may cross from the guest in one answer or call to the host.
    pub(crate) crossing_bytes: usize,
    /// On which thread they run.
    pub(crate) priority: Priority,
}

/// Which of the two threads of guests runs a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Below everything else: a policy must not be felt by requests, and a built-in default answers where it comes too late.
    Low,
    /// As requests: an alarm must come through when the machine is busy, or a policy is.
    Normal,
}

/// The exported functions of one instance, whatever their kind.
pub(crate) type Exports = Box<dyn Any + Send + Sync>;

/// A kind as the loader sees it, without its types.
#[derive(Clone, Copy)]
pub(crate) struct Served {
    pub(crate) contract: &'static Contract,
    pub(crate) link: fn(&mut Linker<GuestState>) -> wasmtime::Result<()>,
    pub(crate) find: fn(&InstancePre<GuestState>) -> wasmtime::Result<Load<Exports>>,
}

impl Budget {
    /// That of policies, which answer at once.
    pub(crate) const POLICY: Self = Self {
        // Guests share a thread: two calls at once would only take the memory of two.
        calls_max: 1,
        wall: |running| running * 10,
        // The facts with all their strings are a tenth of it.
        crossing_bytes: 1024 * 1024,
        priority: Priority::Low,
    };
}

impl Served {
    pub(crate) const fn of<K: Kind>() -> Self {
        Self {
            contract: K::CONTRACT,
            link: K::link,
            find: |component| {
                let load = K::find(component)?;
                Ok(Box::new(move |store, instance| {
                    Ok(Box::new(load(store, instance)?) as Exports)
                }))
            },
        }
    }
}

/// A question and what came of it, as the history keeps them.
pub(crate) trait Record: fmt::Debug + Send + Sync {
    /// What it takes in memory, about.
    fn bytes(&self) -> usize;

    /// As operators see it in the API.
    fn show(&self) -> Map<String, Value>;
}

/// The record of a call.
pub(crate) fn record<K: Kind>(
    question: K::Question,
    answer: &Result<K::Answer, CallFailure>,
) -> Arc<dyn Record> {
    let answer = answer.clone().map_err(|failure| failure.to_string());
    Arc::new(Recorded::<K> { question, answer })
}

#[derive(Debug)]
struct Recorded<K: Kind> {
    question: K::Question,
    answer: Result<K::Answer, String>,
}

impl<K: Kind> Record for Recorded<K> {
    fn bytes(&self) -> usize {
        let error = self.answer.as_ref().err().map_or(0, String::len);
        size_of::<Self>() + K::bytes(&self.question, self.answer.as_ref().ok()) + error
    }

    fn show(&self) -> Map<String, Value> {
        let mut fields = K::show(&self.question, self.answer.as_ref().ok());
        if let Err(error) = &self.answer {
            fields.insert("error".to_owned(), error.clone().into());
        }
        fields
    }
}

/// The bindings of a kind's question: what wasmtime makes of the interface that its world exports.
macro_rules! kind_bindings {
    ($interfaces:literal) => {
        mod bindings {
            wasmtime::component::bindgen!({
                path: "../../wit",
                interfaces: $interfaces,
                exports: { default: async },
                with: { "router:common/types@0.2.0": crate::bindings::router::common::types },
                additional_derives: [PartialEq],
            });
        }
    };
}

/// The part of [`Kind`] that has the same form for every kind: its contract, and how the functions of its interface `$wit` are found.
macro_rules! kind_contract {
    ($wit:ident, $contract:expr) => {
        const CONTRACT: &'static $crate::kinds::Contract = &$contract;

        type Exports = $wit::Guest;

        fn find(
            component: &wasmtime::component::InstancePre<$crate::guest::GuestState>,
        ) -> wasmtime::Result<$crate::kinds::Load<$wit::Guest>> {
            let indices = $wit::GuestIndices::new(component)?;
            Ok(Box::new(move |store, instance| {
                indices.load(store, instance)
            }))
        }
    };
}

pub(crate) use {kind_bindings, kind_contract};
