//! By which plan an instance's breaker goes, and when its policy is asked for another one.
//!
//! It is asked when the instance appears, when its policy or its configured thresholds are others, when its calls have changed much
//! (at most once in [`ASK_EVERY_MS`]), and after a swap. What it answered stays until it answers something else; until then, and
//! where no policy is named, the built-in default answers: the thresholds of the configuration. A plan changes numbers, never
//! states.
//!
//! Settling only says that a question is due: the fleet asks, so many at once and the longest waiting first.

mod answer;
mod view;

use std::sync::Arc;

use crate::{
    breaker::{
        ObservedBreaker, Verdict,
        plan::{BreakerPlan, CallFigures},
    },
    classify::ClassTable,
    event::Sample,
    jitter::Jitter,
    permit::BreakerTotals,
    planted::{Bugs, Planted},
    policy::{ANSWER_SLACK_MS, PolicyNames, QuestionId},
    settings::BreakerThresholds,
    time::earlier,
};

/// How long a policy is not asked again about an instance whose calls have changed, or after it did not answer: five windows of it
/// pass in which it may change.
pub(crate) const ASK_EVERY_MS: u64 = 60_000;

/// How long figures are true that nobody has brought again: they are over five minutes.
const FIGURES_FOR_MS: u64 = 300_000;

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Planning {
    /// `None`: the built-in default.
    in_force: Option<GivenPlan>,
    /// Since when the built-in default is in force, or was.
    builtin_ms: u64,
    /// What the policy last answered, where that is not applied: it is observed.
    observed: Option<ObservedPlan>,
    /// The same, where it was refused.
    refused: Option<RefusedPlan>,
    /// Why what the policy answered last would have opened the breaker at once.
    opens: Option<String>,
    figures: CallFigures,
    figures_ms: u64,
    asking: Asking,
    asked: Option<Asked>,
}

/// A plan, and who gave it.
#[derive(Debug, Clone, PartialEq)]
struct GivenPlan {
    policy: Arc<str>,
    plan: Arc<BreakerPlan>,
    at_ms: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct ObservedPlan {
    given: GivenPlan,
    /// What it would do.
    breaker: ObservedBreaker,
}

#[derive(Debug, Clone, PartialEq)]
struct RefusedPlan {
    policy: Arc<str>,
    reason: String,
    at_ms: u64,
}

/// The question that is due, or open.
#[derive(Debug, Clone, PartialEq, Default)]
enum Asking {
    /// There is nothing to ask.
    #[default]
    Idle,
    /// There will be then.
    At(u64),
    /// It waits for its turn since then.
    Waiting(u64),
    /// It was asked.
    Open { question: QuestionId, until_ms: u64 },
}

/// What was asked last.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    at_ms: u64,
    policies: PolicyNames,
    configured: BreakerThresholds,
    figures: CallFigures,
    /// Nobody answered.
    is_unanswered: bool,
}

/// What an instance knows that its planning does not.
pub(crate) struct PlanBasis<'a> {
    pub(crate) now_ms: u64,
    /// Who is asked; empty: nobody.
    pub(crate) policies: &'a PolicyNames,
    pub(crate) configured: &'a BreakerThresholds,
    /// The counters of its breaker's cell as they were read last.
    pub(crate) totals: BreakerTotals,
    /// Whether it may be asked about at all: a source defines it, and the router is not ending.
    pub(crate) may_ask: bool,
    pub(crate) bugs: Bugs,
}

impl Planning {
    /// That of an instance which appeared just now.
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            builtin_ms: now_ms,
            ..Self::default()
        }
    }

    /// The thresholds in force, unless they are those of the configuration.
    pub(crate) fn thresholds(&self) -> Option<&BreakerThresholds> {
        self.in_force.as_ref().map(|given| &given.plan.thresholds)
    }

    /// The plan in force, unless it is the built-in default.
    pub(super) fn plan(&self) -> Option<&Arc<BreakerPlan>> {
        self.in_force.as_ref().map(|given| &given.plan)
    }

    /// Whether `table` is the classification in force.
    pub(super) fn is_table(&self, table: &ClassTable, configured: &BreakerThresholds) -> bool {
        match &self.in_force {
            Some(given) => *table == given.plan.table,
            None => table.rules().is_empty() && table.slow_ms() == configured.slow_ms,
        }
    }

    /// The classification in force.
    pub(super) fn table(&self, configured: &BreakerThresholds) -> ClassTable {
        match &self.in_force {
            Some(given) => given.plan.table.clone(),
            None => ClassTable::new(Vec::new(), configured.slow_ms),
        }
    }

    /// Takes in what was measured.
    pub(crate) fn sampled(&mut self, now_ms: u64, sample: &Sample) {
        self.figures = sample.call_figures();
        self.figures_ms = now_ms;
    }

    /// The policy is another one under the same name: what the one before still has to say is of no interest.
    pub(crate) fn plan_anew(&mut self, bugs: Bugs) {
        if !bugs.has(Planted::PlansNotAskedAnew) {
            self.asked = None;
        }
        self.asking = Asking::Idle;
        self.opens = None;
    }

    /// A policy's generation is held: what it planned is given up, until the one before it plans.
    pub(crate) fn forget(&mut self, policy: &Arc<str>, now_ms: u64) {
        let is_its = |given: &mut GivenPlan| given.policy == *policy;
        if self.in_force.take_if(is_its).is_some() {
            self.builtin_ms = now_ms;
        }
        self.observed
            .take_if(|observed| is_its(&mut observed.given));
    }

    /// Why what the policy answered last would have opened the breaker at once.
    pub(super) fn opens(&self) -> Option<&str> {
        self.opens.as_deref()
    }

    /// Notes that.
    pub(super) fn note_opens(&mut self, why: Option<String>) {
        self.opens = why;
    }

    /// Who was asked last.
    pub(super) fn asked_of(&self) -> impl Iterator<Item = &Arc<str>> {
        self.asked.iter().flat_map(|asked| asked.policies.iter())
    }

    /// Its calls, as a policy is to learn of them.
    pub(super) fn figures(&self, now_ms: u64) -> CallFigures {
        if self.figures_ms.saturating_add(FIGURES_FOR_MS) <= now_ms {
            return CallFigures::default();
        }
        self.figures
    }

    /// Takes in the verdict on one request, for a plan that is observed.
    pub(crate) fn verdict(
        &mut self,
        now_ms: u64,
        verdict: Verdict,
        jitter: &mut Jitter,
        bugs: Bugs,
    ) {
        if let Some(ObservedPlan { given, breaker }) = &mut self.observed {
            let thresholds = &given.plan.thresholds;
            breaker.verdict(now_ms, verdict, thresholds, jitter, bugs);
        }
    }

    /// Takes in the cell's counters, for a plan that is observed.
    pub(crate) fn traffic(&mut self, now_ms: u64, totals: BreakerTotals, jitter: &mut Jitter) {
        if let Some(ObservedPlan { given, breaker }) = &mut self.observed {
            let thresholds = &given.plan.thresholds;
            breaker.traffic(now_ms, totals, thresholds, jitter);
        }
    }

    /// Gives up a question whose time is up, and says whether another one is due.
    pub(super) fn settle(&mut self, basis: &PlanBasis<'_>) {
        if let Some(observed) = &mut self.observed {
            observed.breaker.tick(basis.now_ms);
        }
        if basis.policies.is_empty() {
            return self.use_builtin(basis.now_ms);
        }
        if !basis.may_ask {
            // Should it be defined again, it appears anew.
            return self.plan_anew(basis.bugs);
        }
        let is_other = |asked: &Asked| asked.policies != *basis.policies;
        match self.asking {
            Asking::Open { until_ms, .. }
                if until_ms <= basis.now_ms && !basis.bugs.has(Planted::PlanQuestionNeverEnds) =>
            {
                self.unanswered(basis);
            }
            Asking::Open { .. } if self.asked.as_ref().is_some_and(is_other) => {
                self.asking = Asking::Idle;
            }
            _ => {}
        }
        if matches!(self.asking, Asking::Open { .. }) {
            return;
        }
        self.asking = match (self.due_ms(basis), &self.asking) {
            (None, _) => Asking::Idle,
            (Some(due_ms), _) if due_ms > basis.now_ms => Asking::At(due_ms),
            (Some(_), Asking::Waiting(since_ms)) => Asking::Waiting(*since_ms),
            (Some(_), _) => Asking::Waiting(basis.now_ms),
        };
    }

    /// No policy is named: what one had answered is of the past.
    fn use_builtin(&mut self, now_ms: u64) {
        if self.in_force.take().is_some() {
            self.builtin_ms = now_ms;
        }
        self.asking = Asking::Idle;
        (self.asked, self.refused, self.observed) = (None, None, None);
        self.opens = None;
    }

    /// When the policy is to be asked again, whatever is under way.
    fn due_ms(&self, basis: &PlanBasis<'_>) -> Option<u64> {
        let Some(asked) = &self.asked else {
            return Some(basis.now_ms);
        };
        if asked.policies != *basis.policies || asked.configured != *basis.configured {
            return Some(basis.now_ms);
        }
        let has_changed = asked.figures.differs_much(&self.figures)
            && !basis.bugs.has(Planted::ProfileChangeIgnored);
        let every_ms = if basis.bugs.has(Planted::AskedAtEachSample) {
            0
        } else {
            ASK_EVERY_MS
        };
        (asked.is_unanswered || has_changed).then_some(asked.at_ms.saturating_add(every_ms))
    }

    /// Since when a question waits to be asked.
    pub(super) fn waits_since_ms(&self) -> Option<u64> {
        match self.asking {
            Asking::Waiting(since_ms) => Some(since_ms),
            Asking::Idle | Asking::At(_) | Asking::Open { .. } => None,
        }
    }

    pub(crate) fn open_question(&self) -> Option<QuestionId> {
        match self.asking {
            Asking::Open { question, .. } => Some(question),
            Asking::Idle | Asking::At(_) | Asking::Waiting(_) => None,
        }
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        let asking = match self.asking {
            Asking::At(at_ms) => Some(at_ms),
            Asking::Open { until_ms, .. } => Some(until_ms),
            // Its turn comes with the end of another question.
            Asking::Idle | Asking::Waiting(_) => None,
        };
        let observed = self.observed.as_ref();
        earlier(asking, observed.and_then(|one| one.breaker.next_wake()))
    }

    /// The question's turn has come.
    pub(super) fn ask(&mut self, basis: &PlanBasis<'_>, question: QuestionId, deadline_ms: u64) {
        self.figures = self.figures(basis.now_ms);
        self.asking = Asking::Open {
            question,
            until_ms: deadline_ms.saturating_add(ANSWER_SLACK_MS),
        };
        self.asked = Some(Asked {
            at_ms: basis.now_ms,
            policies: Arc::clone(basis.policies),
            configured: basis.configured.clone(),
            figures: self.figures,
            is_unanswered: false,
        });
    }
}
