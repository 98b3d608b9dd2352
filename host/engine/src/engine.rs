//! The engine's front: asking plugins, and listing them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, mpsc, oneshot, watch as conditions};
use tokio_util::sync::CancellationToken;

use crate::{
    Conditions, EngineOptions, NamedPolicies, PluginFault, PluginSettings,
    event::EngineEvent,
    failure::CallFailure,
    kinds::{Kind, SERVED, Served, SinkKind},
    loader::{PluginReload, Scan},
    machine::{Machine, MachineError, Stores},
    registry::Entry,
    shared::{EngineShared, is_in_use},
    view::PluginView,
    watcher::watch,
};

/// Questions that may wait or be asked at once; past it the built-in default answers at once. There is one per slot at most, and
/// `instances.max_instances` allows 100,000.
const QUESTIONS_MAX: usize = 128 * 1024;

/// Events that may wait to be received. What does not fit is in the listing all the same.
const EVENTS_MAX: usize = 256;

/// How long a reload waits for the trials of what it loaded: most take milliseconds, and an operator is waiting.
const DECIDED_WITHIN: Duration = Duration::from_secs(2);

/// Why there is no engine.
pub type EngineError = MachineError;

/// Asks and shows plugins. Cheap to clone; may be used from any runtime.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<EngineShared>,
    questions: Arc<Semaphore>,
    ends: CancellationToken,
}

impl Engine {
    /// Starts the threads and the first scan of the directory, and returns before that is over: until a plugin is loaded, the
    /// built-in default answers.
    ///
    /// # Errors
    /// wasmtime or a thread cannot be started.
    pub fn start(
        options: EngineOptions,
    ) -> Result<(Self, mpsc::Receiver<EngineEvent>), EngineError> {
        Self::serve(SERVED, options)
    }

    /// An engine for these kinds.
    pub(crate) fn serve(
        kinds: &'static [Served],
        options: EngineOptions,
    ) -> Result<(Self, mpsc::Receiver<EngineEvent>), EngineError> {
        let stores = if options.reserve_address_space {
            Stores::Reserved
        } else {
            Stores::OneByOne
        };
        let machine = Machine::start(options.cache_dir.as_deref(), stores, kinds)?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let shared = Arc::new(EngineShared::new(machine, options, events));
        let ends = CancellationToken::new();
        let runtime = &shared.machine.runtime;
        runtime.spawn(watch(Arc::clone(&shared), ends.clone()));
        runtime.spawn({
            let (shared, ends) = (Arc::clone(&shared), ends.clone());
            async move { shared.values.sync(ends).await }
        });
        let engine = Self {
            shared,
            questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            ends,
        };
        Ok((engine, receiver))
    }

    /// Asks a plugin the question of its kind: the generation in force, or the candidate of that number. `None`: no such plugin of that kind is loaded, or it is in quarantine.
    ///
    /// # Errors
    /// It failed.
    pub(crate) async fn ask<K: Kind>(
        &self,
        (plugin, candidate): (&str, Option<u64>),
        question: K::Question,
    ) -> Option<Result<K::Answer, CallFailure>> {
        let permit = Arc::clone(&self.questions).try_acquire_owned().ok()?;
        let shared = Arc::clone(&self.shared);
        let plugin = plugin.to_owned();
        let (reply, answer) = oneshot::channel();
        let priority = K::CONTRACT.budget.priority;
        let runtime = self.shared.machine.runtime_of(priority);
        runtime.spawn(async move {
            shared
                .call::<K>((&plugin, candidate), question, reply)
                .await;
            drop(permit);
        });
        answer.await.ok()
    }

    /// How long a call takes, recording included, so many times, in microseconds. For measuring tools.
    pub(crate) async fn measure_calls<K: Kind>(
        &self,
        plugin: &str,
        question: K::Question,
        times: usize,
    ) -> Option<Vec<f64>>
    where
        K::Question: Clone,
    {
        let shared = Arc::clone(&self.shared);
        let plugin = plugin.to_owned();
        let measure = async move {
            let mut micros = Vec::with_capacity(times);
            for _ in 0..times {
                let question = question.clone();
                let begun = Instant::now();
                let (reply, mut answer) = oneshot::channel();
                let at = shared.call::<K>((&plugin, None), question, reply).await?;
                answer.try_recv().ok()?.ok()?;
                micros.push(at.duration_since(begun).as_secs_f64() * 1e6);
            }
            Some(micros)
        };
        let priority = K::CONTRACT.budget.priority;
        let runtime = self.shared.machine.runtime_of(priority);
        runtime.spawn(measure).await.ok()?
    }

    /// How long making a store takes, so many times, in microseconds. For measuring tools.
    pub async fn measure_instantiate(&self, plugin: &str, times: usize) -> Option<Vec<f64>> {
        let generation = self.shared.plugins.lock().get(plugin)?.serving.clone()?;
        let measure = async move {
            let mut micros = Vec::with_capacity(times);
            for _ in 0..times {
                let begun = Instant::now();
                generation.make_one().await.ok()?;
                micros.push(begun.elapsed().as_secs_f64() * 1e6);
            }
            Some(micros)
        };
        self.shared.machine.runtime.spawn(measure).await.ok()?
    }

    /// Every plugin, and those that a policy names and that are not there.
    #[must_use]
    pub fn list(&self) -> Vec<PluginView> {
        let policies = self.shared.in_use();
        let mut views: Vec<PluginView> = {
            let plugins = self.shared.plugins.lock();
            let views = plugins.iter();
            views
                .map(|(name, entry)| self.view(name, entry, policies.as_ref(), false))
                .collect()
        };
        views.extend(self.absent());
        for view in &mut views {
            Self::set_named_world(policies.as_ref(), view);
        }
        views
    }

    /// One plugin, with its last decisions.
    #[must_use]
    pub fn show(&self, name: &str) -> Option<PluginView> {
        let policies = self.shared.in_use();
        let mut view = self.find(name, policies.as_ref())?;
        Self::set_named_world(policies.as_ref(), &mut view);
        Some(view)
    }

    /// One of which nothing was ever loaded counts as what it is named for: by a policy or a rule, else by a sink.
    fn set_named_world(in_use: Option<&NamedPolicies>, view: &mut PluginView) {
        let kinds = in_use.and_then(|named| named.get(&view.name));
        if let Some(kinds) = kinds.filter(|_| view.generation == 0) {
            let kind = kinds.first().map(|kind| kind.as_str());
            view.world = kind.unwrap_or(SinkKind::CONTRACT.world);
        }
    }

    /// Waits for as long as a plugin (`NAME`) or a sink (`sink.NAME`) is being loaded for the first time, which after a start it is;
    /// so long at most.
    pub async fn loaded(&self, name: &str, within: Duration) {
        let mut happened = self.shared.happened.subscribe();
        let is_loading = || {
            let view = self.find(name, self.shared.in_use().as_ref());
            view.is_some_and(|view| view.state == "loading")
        };
        let loaded = async { while is_loading() && happened.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(within, loaded).await;
    }

    /// Why nothing answered in the place of a plugin (`NAME`) or a sink (`sink.NAME`), for people.
    #[must_use]
    pub fn why_silent(&self, name: &str) -> String {
        let Some(view) = self.find(name, self.shared.in_use().as_ref()) else {
            // Its file has just gone, and the scan that notes it is not over.
            if self.shared.named().contains_key(name) {
                return format!("{name} is missing: {}", self.shared.missing_reason(name));
            }
            return format!("no plugin {name} is loaded");
        };
        match (view.state, view.reason) {
            ("serving", _) => format!("{name} is busy, or no plugin that answers this"),
            (state, Some(reason)) => format!("{name} is {state}: {reason}"),
            (state, None) => format!("{name} is {state}"),
        }
    }

    fn find(&self, name: &str, in_use: Option<&NamedPolicies>) -> Option<PluginView> {
        if let Some(entry) = self.shared.plugins.lock().get(name) {
            return Some(self.view(name, entry, in_use, true));
        }
        self.absent().into_iter().find(|view| view.name == name)
    }

    fn view(
        &self,
        name: &str,
        entry: &Entry,
        policies: Option<&NamedPolicies>,
        with_decisions: bool,
    ) -> PluginView {
        let view = entry.view(name, is_in_use(policies, name), with_decisions);
        let digest = view.digest.as_deref().zip(self.shared.trials.as_ref());
        PluginView {
            confirmed: digest.is_some_and(|(digest, trials)| trials.is_confirmed(name, digest)),
            ..view
        }
    }

    /// Plugins that a policy names and that are not there, or were not loaded yet.
    fn absent(&self) -> Vec<PluginView> {
        let shared = &self.shared;
        if let Some(missing) = &*shared.missing.lock() {
            let missing = missing.iter();
            return missing
                .map(|name| Entry::missing(name, shared.missing_reason(name)))
                .collect();
        }
        let named = shared.named();
        let plugins = shared.plugins.lock();
        let named = named.keys().filter(|name| !plugins.contains_key(*name));
        named.map(|name| Entry::loading(name)).collect()
    }

    /// What is wrong with plugins: as it is now, which counts as a change that was not seen yet, and whenever it changes.
    #[must_use]
    pub fn conditions(&self) -> conditions::Receiver<Conditions> {
        let mut conditions = self.shared.conditions.subscribe();
        // The first scan may be over before anybody asks.
        conditions.mark_changed();
        conditions
    }

    /// Everything that is named and does not do what it is named for, once the directory was scanned: with the whole reason of each,
    /// where [`Conditions`] are short.
    #[must_use]
    pub fn faults(&self) -> Vec<PluginFault> {
        self.shared.faults_of(&self.shared.named(), usize::MAX)
    }

    /// Sets which plugins are named by a policy: of the router, of a template, or of an instance. One that is not there is reported
    /// once; the quarantine of one that is no longer named ends.
    pub fn use_policies(&self, named: NamedPolicies) {
        let now = named.clone();
        let before = self.shared.policies.lock().replace(named);
        if let Some(before) = before {
            self.shared.try_newly_named(&before, &now);
        }
        self.shared.lapse_quarantines();
        // Before the first scan it is not known what is there.
        if self.shared.missing.lock().is_some() {
            self.shared.note_missing();
        }
        self.shared.publish_conditions();
    }

    /// Scans the directory now: reads every file, and tries every refused candidate again. New generations are in force or held then,
    /// unless their trials take long.
    pub async fn reload_now(&self) -> PluginReload {
        let shared = Arc::clone(&self.shared);
        let runtime = &self.shared.machine.runtime;
        let scan = runtime.spawn(async move { shared.scan(Scan::Requested).await });
        let report = scan.await.unwrap_or_default();
        let mut conditions = self.shared.conditions.subscribe();
        let decided = conditions.wait_for(Conditions::are_trials_over);
        let _ = tokio::time::timeout(DECIDED_WITHIN, decided).await;
        report
    }

    /// Takes other settings, and loads every plugin anew that they concern.
    pub async fn reconfigure(&self, settings: PluginSettings) -> PluginReload {
        *self.shared.settings.lock() = settings;
        self.reload_now().await
    }

    /// Writes what plugins keep, and ends the threads. A call in progress has no answer then.
    pub async fn shutdown(&self) {
        self.shared.values.finish().await;
        self.ends.cancel();
        let machine = Arc::clone(&self.shared.machine);
        // Joins threads: at most as long as one call may take.
        let _ = tokio::task::spawn_blocking(move || machine.stop()).await;
    }
}
