//! What operators see of plugins.

use std::collections::BTreeMap;

use router_core::health::HealthFacts;
use serde::{Serialize, ser::SerializeStruct as _};

use crate::{Grants, Limits};

/// One plugin, as in `GET /api/plugins`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginView {
    /// Its file's name without `.wasm`.
    pub name: String,
    /// The world that it is built for.
    pub world: &'static str,
    /// `serving`, `quarantined` or `refused` (nothing serves).
    pub state: &'static str,
    /// Which generation serves, counted from 1 over the life of the router; 0: none.
    pub generation: u64,
    /// What the generation is made of: digest of file, manifest, configuration, grants and limits.
    pub digest: Option<String>,
    /// When it was taken into service, in milliseconds since 1970.
    pub loaded_at_ms: Option<u64>,
    /// What it says it is.
    pub version: Option<String>,
    /// What it says it does.
    pub summary: Option<String>,
    /// What it is granted.
    pub grants: Grants,
    /// What its manifest asks for and it is not granted.
    pub requested: Grants,
    /// The bounds on each call.
    pub limits: Limits,
    /// Calls so far.
    pub calls: u64,
    /// Failed ones among them.
    pub failures: u64,
    /// Those by kind.
    pub failures_by_kind: BTreeMap<&'static str, u64>,
    /// The last failure, in words.
    pub last_error: Option<String>,
    /// How long its calls take.
    pub call_micros: CallFigures,
    /// Generations that were taken into service.
    pub reloads: u64,
    /// Candidates that were refused, by reason.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Generations that are alive: more than one for long would be a leak.
    pub live_generations: usize,
    /// Until it is asked again, when quarantined.
    pub quarantined_for_ms: Option<u64>,
    /// The newest candidate, where it was refused.
    pub candidate: Option<Refusal>,
    /// The last decisions, newest first; only when one plugin is shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    /// Time spent in calls, for metrics.
    #[serde(skip)]
    pub call_time: std::time::Duration,
}

/// A candidate that was not taken into service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Its digest.
    pub digest: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// One word.
    pub code: &'static str,
    /// Why, and what to do.
    pub reason: String,
}

/// How long the last calls took, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct CallFigures {
    /// Half of them took at most this.
    pub p50: Option<f64>,
    /// 99 % of them took at most this.
    pub p99: Option<f64>,
}

/// One call that was recorded.
#[derive(Debug, Clone)]
pub struct Decision {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Which generation.
    pub generation: u64,
    /// What it was told.
    pub facts: HealthFacts,
    /// What it answered: health, reason, recycle; or why it did not.
    pub answer: Result<(&'static str, String, bool), String>,
    /// How long the call took.
    pub micros: f64,
}

impl Serialize for Decision {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_struct("Decision", 8)?;
        map.serialize_field("atMs", &self.at_ms)?;
        map.serialize_field("generation", &self.generation)?;
        map.serialize_field("instance", &self.facts.instance)?;
        map.serialize_field("slot", &self.facts.slot)?;
        map.serialize_field("micros", &self.micros)?;
        match &self.answer {
            Ok((health, reason, recycle)) => {
                map.serialize_field("health", health)?;
                map.serialize_field("reason", reason)?;
                map.serialize_field("recycle", recycle)?;
            }
            Err(error) => map.serialize_field("error", error)?,
        }
        map.end()
    }
}
