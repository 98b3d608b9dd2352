//! The trial of one candidate: it is asked about everything that its policy judges, so many questions at a time, and no longer than
//! a trial may take.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{Fleet, holding, is_too_much};
use crate::{
    InstanceId, SlotKey,
    action::Action,
    policy::{
        ANSWER_SLACK_MS, Answer, Ask, CHANGES_MAX, Holding, PolicyKind, Question, QuestionId,
    },
};

/// How long a trial may take: a compiled policy answers 5,000 questions in a quarter of a second, an interpreted one in three. What
/// was not asked by then is not counted.
const TRIAL_MS: u64 = 10_000;

/// Questions without an answer that end a trial: a policy that does not answer takes nothing away, and once it is in force it is in
/// quarantine after as many.
const FAILURES_MAX: u32 = 3;

/// What is asked about.
#[derive(Debug, Clone, PartialEq)]
enum TrialSubject {
    Slot(SlotKey),
    Instance(InstanceId),
    Fleet,
}

#[derive(Debug, Clone, PartialEq)]
struct OpenTrialQuestion {
    subject: TrialSubject,
    until_ms: u64,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::fleet) struct TrialRound {
    waiting: VecDeque<TrialSubject>,
    open: BTreeMap<QuestionId, OpenTrialQuestion>,
    until_ms: u64,
    failures: u32,
    /// What was asked about and serves, …
    serving: usize,
    /// … what of it would be taken away, …
    taken: usize,
    /// … and of which instances that is.
    instances: BTreeSet<InstanceId>,
    changes: Vec<String>,
    /// Where it is about the fleet as a whole.
    fleet: Option<Holding>,
}

impl TrialRound {
    /// Whether nothing is asked any more.
    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.open.is_empty()
    }

    #[cfg(test)]
    pub(in crate::fleet) fn size(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn has(&self, question: QuestionId) -> bool {
        self.open.contains_key(&question)
    }

    pub(super) fn next_wake(&self) -> u64 {
        let open = self.open.values().map(|open| open.until_ms).min();
        open.map_or(self.until_ms, |at_ms| at_ms.min(self.until_ms))
    }

    /// What was not answered until now is not waited for.
    pub(super) fn give_up(&mut self) {
        self.waiting.clear();
        self.open.clear();
    }

    /// Why the candidate is held, if it is.
    pub(super) fn holding(&self, kind: PolicyKind) -> Option<Holding> {
        if self.fleet.is_some() {
            return self.fleet.clone();
        }
        is_too_much(self.serving, self.taken, self.instances.len()).then(|| {
            let mut changes = self.changes.clone();
            changes.sort_unstable();
            let reason = holding::reason(kind, self.serving, self.taken, self.instances.len());
            Holding { reason, changes }
        })
    }

    fn take_away(&mut self, instance: &InstanceId, change: String) {
        self.taken += 1;
        self.instances.insert(instance.clone());
        if self.changes.len() < CHANGES_MAX {
            self.changes.push(change);
        }
    }
}

impl Fleet {
    /// A trial of a candidate that begins now, about all that its policy judges and that serves.
    pub(in crate::fleet) fn begin_trial(&self, policy: &str, kind: PolicyKind) -> TrialRound {
        let mut waiting = VecDeque::new();
        let settings = &self.settings;
        match kind {
            PolicyKind::Health => {
                for instance in self.instances.values() {
                    if instance
                        .health_policies(settings)
                        .iter()
                        .any(|one| **one == *policy)
                    {
                        waiting.extend(instance.serving_slots(self.now_ms).map(TrialSubject::Slot));
                    }
                }
            }
            PolicyKind::Breaker => {
                let instances = self.instances.values().filter(|instance| {
                    let policies = instance.breaker_policies(settings);
                    policies.iter().any(|one| **one == *policy) && instance.is_plan_counted()
                });
                waiting.extend(instances.map(|one| TrialSubject::Instance(one.id().clone())));
            }
            PolicyKind::Capacity => {
                if settings.capacity_policy.as_deref() == Some(policy) {
                    waiting.push_back(TrialSubject::Fleet);
                }
            }
            PolicyKind::AlertRule => {}
        }
        TrialRound {
            waiting,
            open: BTreeMap::new(),
            until_ms: self.now_ms.saturating_add(TRIAL_MS),
            failures: 0,
            serving: 0,
            taken: 0,
            instances: BTreeSet::new(),
            changes: Vec::new(),
            fleet: None,
        }
    }

    /// Gives up what is overdue, and asks as much as may be asked at once.
    pub(super) fn go_on_asking(
        &mut self,
        policy: &Arc<str>,
        generation: u64,
        asking: &mut TrialRound,
        out: &mut Vec<Action>,
    ) {
        let now_ms = self.now_ms;
        let is_endless = self.bugs.has(crate::planted::Planted::TrialNeverEnds);
        if !is_endless {
            let before = asking.open.len();
            asking.open.retain(|_, open| open.until_ms > now_ms);
            let overdue = before - asking.open.len();
            asking.failures += u32::try_from(overdue).unwrap_or(u32::MAX);
        }
        if (asking.failures >= FAILURES_MAX || asking.until_ms <= now_ms) && !is_endless {
            return asking.give_up();
        }
        let most = self.settings.plan_questions_max.max(1);
        while asking.open.len() < most
            && let Some(subject) = asking.waiting.pop_front()
        {
            let Some(question) = self.trial_question(&subject) else {
                continue;
            };
            let id = self.counters.question();
            let deadline_ms = now_ms.saturating_add(self.settings.question_ms);
            out.push(Action::Ask(Ask {
                id,
                policies: [Arc::clone(policy)].into(),
                question,
                deadline_ms,
                candidate: Some(generation),
            }));
            let until_ms = deadline_ms.saturating_add(ANSWER_SLACK_MS);
            asking
                .open
                .insert(id, OpenTrialQuestion { subject, until_ms });
        }
    }

    /// What is asked about a subject, where it still serves.
    fn trial_question(&self, subject: &TrialSubject) -> Option<Question> {
        match subject {
            TrialSubject::Slot(key) => {
                let instance = self.instances.get(&key.instance)?;
                let facts = instance.facts(key.slot, self.now_ms)?;
                let (key, facts) = (key.clone(), Box::new(facts));
                Some(Question::Health { key, facts })
            }
            TrialSubject::Instance(id) => {
                let instance = self.instances.get(id)?;
                let profile = Box::new(instance.profile(&self.settings, self.now_ms));
                let instance = id.clone();
                Some(Question::Breaker { instance, profile })
            }
            TrialSubject::Fleet => {
                let load = Box::new(self.capacity_load()?);
                Some(Question::Capacity { load })
            }
        }
    }

    /// Counts what an answer would take away.
    pub(super) fn weigh(
        &self,
        asking: &mut TrialRound,
        question: QuestionId,
        answer: Option<&Answer>,
    ) {
        let Some(OpenTrialQuestion { subject, .. }) = asking.open.remove(&question) else {
            return;
        };
        let Some(answer) = answer else {
            asking.failures += 1;
            return;
        };
        asking.failures = 0;
        match (&subject, answer) {
            (TrialSubject::Slot(key), Answer::Health(verdict)) => {
                let instance = self.instances.get(&key.instance);
                let serves = instance.is_some_and(|one| one.facts(key.slot, self.now_ms).is_some());
                asking.serving += usize::from(serves);
                if serves && verdict.takes_away() {
                    asking.take_away(&key.instance, holding::describe_verdict(key, verdict));
                }
            }
            (TrialSubject::Instance(id), Answer::Breaker(plan)) => {
                let Some(instance) = self.instances.get(id) else {
                    return;
                };
                asking.serving += usize::from(instance.is_plan_counted());
                if let Some(why) = instance.would_open(plan, &self.settings, self.now_ms) {
                    asking.take_away(id, format!("{id}: {why}"));
                }
            }
            (TrialSubject::Fleet, Answer::Capacity(plan)) => {
                let load = self.capacity_load();
                asking.fleet = load.and_then(|load| holding::of_capacity(plan, &load));
            }
            // Of another kind: as good as none.
            _ => asking.failures += 1,
        }
    }
}
