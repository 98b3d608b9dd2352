//! What operators see of plugins.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Serialize, ser::SerializeMap as _};

use crate::{FailureKind, Grants, Limits, kinds::Record};

/// A time, in milliseconds since 1970, as the API shows it.
pub(crate) fn time(unix_ms: u64) -> String {
    router_values::rfc3339_unix_ms(i64::try_from(unix_ms).unwrap_or(i64::MAX))
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
fn as_time<S: serde::Serializer>(unix_ms: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&time(*unix_ms))
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    clippy::ref_option,
    reason = "serde passes fields by reference"
)]
fn as_time_if_any<S: serde::Serializer>(unix_ms: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    unix_ms.map(time).serialize(to)
}

/// One plugin, as in `GET /api/plugins`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginView {
    /// Its file's name without `.wasm`.
    pub name: String,
    /// The world that it is built for; where nothing of it was ever loaded, the one that it is named for.
    pub world: &'static str,
    /// `serving`; or `quarantined`, `held` or `refused` (nothing serves), `missing` (a policy names it, and there is no such file) or
    /// `loading` (for the first time): then the built-in default answers.
    pub state: &'static str,
    /// Why it does not serve.
    pub reason: Option<String>,
    /// Whether a policy names it.
    pub in_use: bool,
    /// Which generation serves, counted from 1 since its file appeared; 0: none.
    pub generation: u64,
    /// What the generation is made of: digest of file, manifest, configuration, limits and, of a sink, what it may reach.
    pub digest: Option<String>,
    /// When it was taken into service, in milliseconds since 1970; shown as a time.
    #[serde(rename = "loadedAt", serialize_with = "as_time_if_any")]
    pub loaded_at_ms: Option<u64>,
    /// What it calls itself.
    pub own_name: Option<String>,
    /// Which version it says it is.
    pub version: Option<String>,
    /// What it says it does.
    pub summary: Option<String>,
    /// What else it says about itself.
    pub attributes: BTreeMap<String, String>,
    /// What it is granted.
    pub grants: Grants,
    /// What its manifest asks for and it is not granted.
    pub requested: Grants,
    /// The bounds on each call.
    pub limits: Limits,
    /// Calls of the generation that serves.
    pub calls: u64,
    /// Failed ones among them.
    pub failures: u64,
    /// Those by kind.
    pub failures_by_kind: BTreeMap<&'static str, u64>,
    /// What the last of them was, with the last words of what it printed.
    pub last_error: Option<String>,
    /// The same, with everything that is known of it.
    pub last_failure: Option<LastFailure>,
    /// How long its calls take.
    pub call_micros: PluginCalls,
    /// The same of all generations since the file appeared.
    pub lifetime: LifetimeFigures,
    /// Generations that were taken into service.
    pub reloads: u64,
    /// Candidates that were refused, by reason.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Generations that are alive: more than one for long would be a leak.
    pub live_generations: usize,
    /// Until it is asked again, when quarantined.
    pub quarantined_for_ms: Option<u64>,
    /// Since when the built-in default answers in its place, and how many questions; `None`: it answered the last one.
    pub unanswered: Option<Unanswered>,
    /// Values that it keeps and that wait for the database.
    pub unwritten_values: usize,
    /// How often each secret of a sink was used by the generation that serves: put into a request, or signed with.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_uses: BTreeMap<String, u64>,
    /// The generation that is tried before it is in force, or held.
    pub trial: Option<CandidateView>,
    /// Whether an operator confirmed the generation in force, which then may take away what it will.
    pub confirmed: bool,
    /// The newest candidate, where it was refused.
    pub candidate: Option<Refusal>,
    /// The last decisions, newest first; only when one plugin is shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    /// Time spent in calls of all generations, for metrics.
    #[serde(skip)]
    pub call_time: std::time::Duration,
}

/// Questions in a row that a plugin did not answer: because it failed, is in quarantine, or never served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unanswered {
    /// When the first of them was asked, in milliseconds since 1970.
    pub since_ms: u64,
    /// How many there were.
    pub questions: u64,
}

impl Serialize for Unanswered {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(2))?;
        map.serialize_entry("since", &time(self.since_ms))?;
        map.serialize_entry("questions", &self.questions)?;
        map.end()
    }
}

/// A generation that is not in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateView {
    /// Which one.
    pub generation: u64,
    /// Its digest.
    pub digest: String,
    /// Whether it is held.
    pub state: CandidateState,
    /// Since when, in milliseconds since 1970; shown as a time.
    #[serde(rename = "at", serialize_with = "as_time")]
    pub at_ms: u64,
    /// Why it is held.
    pub reason: Option<String>,
    /// What would change if it were in force, a line each.
    pub would_change: Vec<String>,
}

/// What becomes of a generation that is not in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CandidateState {
    /// It is asked about everything, and is in force when that shows that it takes away little.
    Tried,
    /// It waits for an operator.
    Held,
}

/// A candidate that was not taken into service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Its digest; empty where it could not be read.
    pub digest: String,
    /// When it was tried last, in milliseconds since 1970; shown as a time.
    #[serde(rename = "at", serialize_with = "as_time")]
    pub at_ms: u64,
    /// One word.
    pub code: &'static str,
    /// Why, and what to do.
    pub reason: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried again by itself, where the reason may pass.
    pub next_try_in_ms: Option<u64>,
}

/// A call without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// When, in milliseconds since 1970; shown as a time.
    #[serde(rename = "at", serialize_with = "as_time")]
    pub at_ms: u64,
    /// Which generation.
    pub generation: u64,
    /// What kind of failure.
    pub kind: FailureKind,
    /// What happened, for people, and the last words of what it printed.
    pub reason: String,
    /// The last 4 KiB that the call printed, lines as it printed them; of a panic or an exception what it says.
    pub printed: Option<String>,
}

/// How calls ended, those of all generations together.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LifetimeFigures {
    /// Calls so far.
    pub calls: u64,
    /// Failed ones among them.
    pub failures: u64,
    /// Those by kind.
    pub failures_by_kind: BTreeMap<&'static str, u64>,
    /// The last of them.
    pub last_failure: Option<LastFailure>,
}

/// How long the last calls took, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct PluginCalls {
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
    /// How long the call took.
    pub micros: f64,
    /// What was asked, and what it answered or why it did not.
    pub(crate) record: Arc<dyn Record>,
}

impl Decision {
    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.record.bytes()
    }
}

impl Serialize for Decision {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("at", &time(self.at_ms))?;
        map.serialize_entry("generation", &self.generation)?;
        map.serialize_entry("micros", &self.micros)?;
        for (name, value) in self.record.show() {
            map.serialize_entry(&name, &value)?;
        }
        map.end()
    }
}
