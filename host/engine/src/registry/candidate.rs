//! The generation of a plugin that is not in force yet: it is tried, or held.

use std::sync::Arc;

use router_core::policy::{CandidateGeneration, Holding};
use tokio::sync::Semaphore;

use super::{Entry, unix_ms};
use crate::{
    event::EngineEvent,
    generation::Generation,
    kinds::Contract,
    trials::HeldRecord,
    view::{CandidateState, CandidateView},
};

/// See the module.
pub(crate) struct Candidate {
    pub(crate) generation: Arc<Generation>,
    /// Bounds its calls, so that a trial takes nothing from the generation in force.
    calls: Arc<Semaphore>,
    at_ms: u64,
    held: Option<Arc<Holding>>,
}

impl Candidate {
    pub(crate) fn new(generation: Arc<Generation>, held: Option<HeldRecord>) -> Self {
        let calls_max = generation.contract().budget.calls_max as usize;
        Self {
            calls: Arc::new(Semaphore::new(calls_max)),
            generation,
            at_ms: held.as_ref().map_or_else(unix_ms, |held| held.at_ms),
            held: held.map(|held| held.holding()),
        }
    }

    /// As the core sees it.
    pub(crate) fn facts(&self) -> CandidateGeneration {
        CandidateGeneration {
            generation: self.generation.number,
            held: self.held.clone(),
        }
    }

    pub(crate) fn held(&self) -> Option<&Holding> {
        self.held.as_deref()
    }

    /// What operators see.
    pub(crate) fn view(&self) -> CandidateView {
        let holding = self.held();
        CandidateView {
            generation: self.generation.number,
            digest: self.generation.digest.clone(),
            state: match holding {
                Some(_) => CandidateState::Held,
                None => CandidateState::Tried,
            },
            at_ms: self.at_ms,
            reason: holding.map(|holding| holding.reason.clone()),
            would_change: holding.map_or_else(Vec::new, |holding| holding.changes.clone()),
        }
    }
}

impl Entry {
    /// Another generation is to be tried, or is held as it was before. What was a candidate until now is none any more.
    pub(crate) fn offer(&mut self, candidate: Candidate) {
        self.refusal = None;
        self.retry = None;
        self.candidate = Some(candidate);
    }

    /// The candidate of that number, for a call.
    pub(crate) fn candidate_for_call(
        &self,
        number: u64,
        contract: &'static Contract,
    ) -> Option<(Arc<Generation>, Arc<Semaphore>)> {
        let candidate = self.candidate.as_ref()?;
        let generation = &candidate.generation;
        let is_asked_for =
            generation.number == number && generation.contract().world == contract.world;
        is_asked_for.then(|| (Arc::clone(generation), Arc::clone(&candidate.calls)))
    }

    /// Takes the candidate into service, where it is that one.
    pub(crate) fn apply_candidate(
        &mut self,
        number: u64,
    ) -> Option<(Arc<Generation>, EngineEvent)> {
        let is_it = |candidate: &mut Candidate| candidate.generation.number == number;
        let generation = self.candidate.take_if(is_it)?.generation;
        let event = self.swap(Arc::clone(&generation));
        Some((generation, event))
    }

    /// Holds a generation: the candidate, or the one in force, which is none then. What was not held before is returned.
    pub(crate) fn hold(&mut self, number: u64, holding: &Arc<Holding>) -> Option<Arc<Generation>> {
        if let Some(candidate) = &mut self.candidate
            && candidate.generation.number == number
        {
            let was_held = candidate.held.replace(Arc::clone(holding)).is_some();
            candidate.generation.rest();
            return (!was_held).then(|| Arc::clone(&candidate.generation));
        }
        let is_it = |serving: &mut Arc<Generation>| serving.number == number;
        let generation = self.serving.take_if(is_it)?;
        generation.rest();
        // A newer candidate stays the one to decide about.
        self.candidate.get_or_insert_with(|| Candidate {
            held: Some(Arc::clone(holding)),
            ..Candidate::new(Arc::clone(&generation), None)
        });
        Some(generation)
    }

    /// The generation in force becomes one that is to be tried: no policy named the plugin until now.
    pub(crate) fn demote(&mut self) {
        if let Some(generation) = self.serving.take() {
            self.candidate = Some(Candidate::new(generation, None));
        }
    }
}
