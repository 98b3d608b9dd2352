//! What the core and operators decide about generations, carried out.

use std::sync::Arc;

use router_core::policy::{
    GenerationInForce, Holding, PolicyAction, PolicyGenerations, PolicyKind,
};

use crate::{
    NamedPolicies,
    engine::Engine,
    event::EngineEvent,
    generation::Generation,
    loader::Scan,
    registry::{Candidate, unix_ms},
    shared::{EngineShared, is_in_use},
    trials::{DigestState, TrialRecords},
};

/// Why a decision about a generation was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    /// There is no such plugin.
    #[error("there is no plugin {0:?}; GET /api/plugins lists those there are")]
    NoPlugin(String),
    /// Nothing is to be decided.
    #[error("{0}")]
    NothingToDecide(String),
    /// It could not be written down, and so the next router would not know of it.
    #[error("the decision cannot be written to the data directory: {0}")]
    NotWritten(String),
}

/// The questions that plugins of a world answer, where the core asks them.
pub(crate) fn kind_of(world: &str) -> Option<PolicyKind> {
    [
        PolicyKind::Health,
        PolicyKind::Breaker,
        PolicyKind::Capacity,
    ]
    .into_iter()
    .find(|kind| kind.as_str() == world)
}

impl Engine {
    /// Carries out what the core decided about a generation. Never waits.
    pub fn carry_out(&self, action: &PolicyAction) {
        match action {
            PolicyAction::Apply { policy, generation } => self.shared.apply(policy, *generation),
            PolicyAction::Hold {
                policy,
                generation,
                holding,
            } => self.shared.hold(policy, *generation, holding),
        }
    }

    /// Takes the generation that is held, tried or was rejected, whatever it takes away. It is remembered by its digest.
    ///
    /// # Errors
    /// There is none, or the decision could not be written.
    pub async fn confirm(&self, plugin: &str) -> Result<String, DecisionError> {
        let (shared, plugin) = (Arc::clone(&self.shared), plugin.to_owned());
        let runtime = &self.shared.machine.runtime;
        let done = runtime.spawn(async move { shared.confirm(&plugin).await });
        done.await
            .unwrap_or_else(|error| Err(DecisionError::NotWritten(error.to_string())))
    }

    /// Does not take the generation that is held or tried; or, where there is none, returns to the one before that in force. It is
    /// remembered by its digest.
    ///
    /// # Errors
    /// There is none, or the decision could not be written.
    pub async fn reject(&self, plugin: &str) -> Result<String, DecisionError> {
        let (shared, plugin) = (Arc::clone(&self.shared), plugin.to_owned());
        let runtime = &self.shared.machine.runtime;
        let done = runtime.spawn(async move { shared.reject(&plugin).await });
        done.await
            .unwrap_or_else(|error| Err(DecisionError::NotWritten(error.to_string())))
    }
}

impl EngineShared {
    /// Whether a generation that was just loaded must be tried before it is in force, or is held; `None`: neither.
    pub(crate) fn candidate(&self, generation: &Arc<Generation>) -> Option<Candidate> {
        let trials = self.trials.as_ref()?;
        kind_of(generation.contract().world)?;
        let plugin = &generation.plugin;
        // What no policy names is tried when one does.
        if !is_in_use(self.policies.lock().as_ref(), plugin) {
            return None;
        }
        let generation = Arc::clone(generation);
        match trials.state_of(plugin, &generation.digest) {
            DigestState::Accepted => None,
            DigestState::Unknown | DigestState::Rejected => Some(Candidate::new(generation, None)),
            DigestState::Held(held) => Some(Candidate::new(generation, Some(held))),
        }
    }

    /// Notes that a generation is in force, for the next start.
    pub(crate) fn note_in_force(&self, generation: &Generation) {
        let plugin = &generation.plugin;
        let is_policy = kind_of(generation.contract().world).is_some();
        let is_in_use = is_policy && is_in_use(self.policies.lock().as_ref(), plugin);
        if let Some(trials) = self.trials.as_ref().filter(|_| is_in_use) {
            trials.note_in_force(plugin, &generation.digest);
            self.save(trials);
        }
    }

    fn save(&self, trials: &Arc<TrialRecords>) {
        let trials = Arc::clone(trials);
        self.machine
            .runtime
            .spawn_blocking(move || trials.save_or_log());
    }

    fn apply(&self, plugin: &str, number: u64) {
        let applied = {
            let mut plugins = self.plugins.lock();
            let entry = plugins.get_mut(plugin);
            entry.and_then(|entry| entry.apply_candidate(number))
        };
        if let Some((generation, event)) = applied {
            self.note_in_force(&generation);
            self.emit(event);
            self.publish_conditions();
        }
    }

    fn hold(self: &Arc<Self>, plugin: &str, number: u64, holding: &Arc<Holding>) {
        let held = {
            let mut plugins = self.plugins.lock();
            plugins
                .get_mut(plugin)
                .and_then(|entry| entry.hold(number, holding))
        };
        let (Some(generation), Some(trials)) = (held, &self.trials) else {
            return;
        };
        trials.note_held(plugin, &generation.digest, holding, unix_ms());
        self.save(trials);
        self.emit(EngineEvent::Held {
            plugin: plugin.to_owned(),
            generation: number,
            reason: holding.reason.clone(),
        });
        self.publish_conditions();
        let (shared, digest) = (Arc::clone(self), generation.digest.clone());
        let plugin = plugin.to_owned();
        self.machine
            .runtime
            .spawn(async move { shared.fall_back(&plugin, &digest).await });
    }

    async fn confirm(self: &Arc<Self>, plugin: &str) -> Result<String, DecisionError> {
        let decidable = self.decidable(plugin)?;
        let candidate = decidable.candidate.as_ref();
        let digest = candidate
            .map(|(_, digest)| digest)
            .or(decidable.rejected.as_ref());
        let (Some(digest), Some(trials)) = (digest, &self.trials) else {
            return Err(decidable.nothing(plugin));
        };
        let decide = |trials: &TrialRecords| trials.confirm(plugin, digest);
        self.write_down(trials, plugin, decide).await?;
        if let Some((number, _)) = candidate {
            self.apply(plugin, *number);
        } else {
            if let Some(entry) = self.plugins.lock().get_mut(plugin) {
                entry.tried.clear();
            }
            self.scan(Scan::Requested).await;
        }
        Ok(match self.in_force(plugin) {
            Some(number) => format!("generation {number} of {plugin} is in force"),
            None => format!("{plugin} is confirmed, and could not be loaded"),
        })
    }

    async fn reject(self: &Arc<Self>, plugin: &str) -> Result<String, DecisionError> {
        let decidable = self.decidable(plugin)?;
        let Some(trials) = &self.trials else {
            return Err(decidable.nothing(plugin));
        };
        let returns = |(_, digest): &&(u64, String)| trials.fallback(plugin, digest).is_some();
        let serving = decidable.serving.as_ref().filter(returns);
        let Some((number, digest)) = decidable.candidate.as_ref().or(serving) else {
            return Err(decidable.nothing(plugin));
        };
        let decide = |trials: &TrialRecords| trials.reject(plugin, digest);
        self.write_down(trials, plugin, decide).await?;
        if let Some(entry) = self.plugins.lock().get_mut(plugin) {
            entry.reject(plugin, *number, digest);
        }
        self.fall_back(plugin, digest).await;
        let in_force = self.in_force(plugin);
        self.emit(EngineEvent::Rejected {
            plugin: plugin.to_owned(),
            generation: *number,
            serving: in_force.unwrap_or(0),
        });
        self.publish_conditions();
        let stays = in_force.map_or_else(
            || "the built-in rule answers".to_owned(),
            |number| format!("generation {number} is in force"),
        );
        Ok(format!(
            "generation {number} of {plugin} is rejected: {stays}"
        ))
    }

    /// Makes a decision and writes it, or does neither.
    async fn write_down(
        &self,
        trials: &Arc<TrialRecords>,
        plugin: &str,
        decide: impl FnOnce(&TrialRecords),
    ) -> Result<(), DecisionError> {
        let before = trials.get(plugin);
        decide(trials);
        let writer = Arc::clone(trials);
        let written = tokio::task::spawn_blocking(move || writer.save()).await;
        let written = written
            .map_err(std::io::Error::other)
            .and_then(|written| written);
        written.map_err(|error| {
            trials.put_back(plugin, before);
            DecisionError::NotWritten(error.to_string())
        })
    }

    fn decidable(&self, plugin: &str) -> Result<Decidable, DecisionError> {
        let plugins = self.plugins.lock();
        let entry = plugins.get(plugin);
        let entry = entry.ok_or_else(|| DecisionError::NoPlugin(plugin.to_owned()))?;
        let named = |generation: &Arc<Generation>| (generation.number, generation.digest.clone());
        Ok(Decidable {
            candidate: entry.candidate.as_ref().map(|one| named(&one.generation)),
            serving: entry.serving.as_ref().map(named),
            rejected: entry.rejected_digest(),
        })
    }

    fn in_force(&self, plugin: &str) -> Option<u64> {
        let plugins = self.plugins.lock();
        let serving = plugins.get(plugin)?.serving.as_ref()?;
        Some(serving.number)
    }

    /// Takes the copy of the generation before into service, where nothing is.
    pub(crate) async fn fall_back(self: &Arc<Self>, plugin: &str, from: &str) {
        let serves = |shared: &Self| {
            let plugins = shared.plugins.lock();
            plugins
                .get(plugin)
                .is_none_or(|entry| entry.serving.is_some())
        };
        let fallback = self
            .trials
            .as_ref()
            .and_then(|trials| trials.fallback(plugin, from));
        let Some(digest) = fallback.filter(|_| !serves(self)) else {
            return;
        };
        match self.load_copy(plugin, &digest).await {
            Ok(generation) => {
                let event = {
                    let mut plugins = self.plugins.lock();
                    let entry = plugins.get_mut(plugin);
                    let entry = entry.filter(|entry| entry.serving.is_none());
                    entry.map(|entry| entry.restore(Arc::new(generation)))
                };
                if let Some(event) = event {
                    self.emit(event);
                    self.publish_conditions();
                }
            }
            Err(reason) => tracing::error!(
                plugin,
                reason,
                "copy of a plugin not loaded: the built-in rule answers"
            ),
        }
    }

    /// A plugin that no policy named until now is tried before it is in force.
    pub(crate) fn try_newly_named(&self, before: &NamedPolicies, now: &NamedPolicies) {
        let Some(trials) = &self.trials else {
            return;
        };
        let mut plugins = self.plugins.lock();
        for name in now.keys().filter(|name| !before.contains_key(*name)) {
            let Some(entry) = plugins.get_mut(name) else {
                continue;
            };
            let Some(serving) = &entry.serving else {
                continue;
            };
            let is_policy = kind_of(serving.contract().world).is_some();
            let known = trials.state_of(name, &serving.digest);
            if is_policy && !matches!(known, DigestState::Accepted) {
                entry.demote();
            }
        }
    }

    /// The policies that are named and loaded, with their generations.
    pub(crate) fn generations(&self, named: &NamedPolicies) -> Vec<PolicyGenerations> {
        let Some(trials) = &self.trials else {
            return Vec::new();
        };
        let plugins = self.plugins.lock();
        let generations = named.keys().filter_map(|name| {
            let entry = plugins.get(name)?;
            let (serving, candidate) = (entry.serving.as_ref(), entry.candidate.as_ref());
            let any = candidate
                .map(|candidate| &candidate.generation)
                .or(serving)?;
            Some(PolicyGenerations {
                policy: name.as_str().into(),
                kind: kind_of(any.contract().world)?,
                in_force: serving.map(|serving| GenerationInForce {
                    generation: serving.number,
                    is_confirmed: trials.is_confirmed(name, &serving.digest),
                }),
                candidate: candidate.map(Candidate::facts),
            })
        });
        generations.collect()
    }
}

/// What operators may decide about a plugin: numbers and digests.
struct Decidable {
    candidate: Option<(u64, String)>,
    serving: Option<(u64, String)>,
    /// The digest of what is refused because it was rejected.
    rejected: Option<String>,
}

impl Decidable {
    fn nothing(&self, plugin: &str) -> DecisionError {
        let now = match &self.serving {
            Some((number, _)) => {
                format!("generation {number} is in force, and none before it is kept")
            }
            None => "the built-in rule answers".to_owned(),
        };
        DecisionError::NothingToDecide(format!("no generation of {plugin} is held: {now}"))
    }
}
