//! What operators see of a plugin's state.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use router_core::policy::PolicyKind;

use super::{Candidate, Entry};
use crate::{
    Grants,
    kinds::DEFAULT_WORLD,
    rejection::REFUSED_CONFIG,
    texts::pairs,
    view::{LifetimeFigures, PluginView, Refusal},
};

impl Entry {
    /// What operators see.
    pub(crate) fn view(&self, name: &str, is_in_use: bool, with_decisions: bool) -> PluginView {
        let serving = self.serving.as_ref();
        let description = serving.map(|serving| &serving.description);
        let candidate = self.refusal.clone().map(|refusal| Refusal {
            next_try_in_ms: self.retry.map(|retry| ms_until(retry.at)),
            ..refusal
        });
        let (state, reason) = self.state(candidate.as_ref());
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        let history = &self.history;
        let (current, lifetime) = (&history.current, &history.lifetime);
        PluginView {
            name: name.to_owned(),
            world: serving
                .or(self.candidate.as_ref().map(|one| &one.generation))
                .map_or(DEFAULT_WORLD, |one| one.contract().world),
            state,
            reason,
            in_use: is_in_use,
            generation: serving.map_or(0, |serving| serving.number),
            digest: serving.map(|serving| serving.digest.clone()),
            loaded_at_ms: self.loaded_at_ms,
            own_name: description.and_then(|one| text(&one.name)),
            version: description.and_then(|one| text(&one.version)),
            summary: description.and_then(|one| text(&one.summary)),
            attributes: description.map_or_else(BTreeMap::new, |one| pairs(&one.attributes)),
            grants: self.grants.clone(),
            requested: Grants {
                http: lacking(&self.requested.http, &self.grants.http),
                secrets: lacking(&self.requested.secrets, &self.grants.secrets),
            },
            limits: self.limits.clone(),
            calls: current.calls,
            failures: current.failures.values().sum(),
            failures_by_kind: current.failures_by_kind(),
            last_error: self.last_error(),
            last_failure: current.last_failure.clone(),
            lifetime: LifetimeFigures {
                calls: lifetime.calls,
                failures: lifetime.failures.values().sum(),
                failures_by_kind: lifetime.failures_by_kind(),
                last_failure: lifetime.last_failure.clone(),
            },
            call_micros: history.figures(),
            reloads: self.reloads,
            refusals: self.refusals.clone(),
            live_generations: self
                .alive
                .iter()
                .filter(|one| one.strong_count() > 0)
                .count(),
            quarantined_for_ms: self.quarantine.until().map(ms_until),
            unanswered: self.unanswered,
            unwritten_values: serving.map_or(0, |serving| serving.unwritten()),
            secret_uses: serving.map_or_else(BTreeMap::new, |serving| serving.secret_uses()),
            trial: self.candidate.as_ref().map(Candidate::view),
            confirmed: false,
            candidate,
            decisions: if with_decisions {
                history.decisions()
            } else {
                Vec::new()
            },
            call_time: history.call_time,
        }
    }

    /// Its state in one word, and why it does not serve.
    fn state(&self, candidate: Option<&Refusal>) -> (&'static str, Option<String>) {
        match (&self.serving, candidate) {
            (Some(_), _) if self.is_quarantined() => ("quarantined", self.last_error()),
            (Some(_), _) => ("serving", None),
            (None, _) if let Some(held) = self.candidate.as_ref().and_then(Candidate::held) => {
                ("held", Some(held.reason.clone()))
            }
            (None, Some(refusal)) => ("refused", Some(refusal.reason.clone())),
            (None, None) => (
                "loading",
                Some("it was found, or named by a policy, and is being loaded".to_owned()),
            ),
        }
    }

    fn last_error(&self) -> Option<String> {
        let failure = self.history.current.last_failure.as_ref();
        failure.map(|failure| failure.reason.clone())
    }

    /// What operators see of a plugin that is named and that is not there, for this reason.
    pub(crate) fn missing(name: &str, reason: String) -> PluginView {
        PluginView {
            state: "missing",
            reason: Some(reason),
            ..Self::default().view(name, true, false)
        }
    }

    /// Why it does not judge as it is configured, where a policy names it. That a new file is refused is none while the generation
    /// before goes on: it may be a copy that is under way.
    pub(crate) fn fault(&self) -> Option<String> {
        let refusal = self.refusal.as_ref()?;
        match &self.serving {
            None => Some(refusal.reason.clone()),
            Some(serving) if refusal.code == REFUSED_CONFIG => {
                let number = serving.number;
                let reason = &refusal.reason;
                Some(format!("generation {number} goes on, for {reason}"))
            }
            Some(_) => None,
        }
    }

    /// What it cannot answer of what policies name it for.
    pub(crate) fn kind_fault(&self, kinds: &BTreeSet<PolicyKind>) -> Option<String> {
        let world = self.serving.as_ref()?.contract().world;
        let other = kinds.iter().find(|kind| kind.as_str() != world)?;
        Some(format!(
            "it is a {world}, and is named for a {}",
            other.as_str()
        ))
    }

    /// What operators see of a plugin that a policy names until the directory was scanned for the first time.
    pub(crate) fn loading(name: &str) -> PluginView {
        Self::default().view(name, true, false)
    }
}

fn lacking(asked: &[String], granted: &[String]) -> Vec<String> {
    let lacking = asked.iter().filter(|one| !granted.contains(one));
    lacking.cloned().collect()
}

fn ms_until(at: Instant) -> u64 {
    let left = at.saturating_duration_since(Instant::now());
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
}
