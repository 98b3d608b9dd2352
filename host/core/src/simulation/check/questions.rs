//! Questions to policies: each ends once, and where it got no answer the default stands. What a policy says is made
//! recognisable: the reason of its verdict names its question.

use crate::{
    Run, SlotKey,
    event::{Event, PolicyEvent},
    health::{Health, HealthVerdict},
    policy::{Answer, Ask, PolicyAnswer, QuestionId},
    simulation::{property::Property, world::World},
    view::{Lifecycle, SlotView},
};

/// Time for an answer to come back after its deadline; the core's own patience must not be longer.
const SLACK_MS: u64 = 250;

/// A question that was asked.
#[derive(Debug)]
pub(super) struct AwaitedQuestion {
    key: SlotKey,
    run: Run,
    /// How many policies were asked.
    asked: usize,
    until_ms: u64,
}

/// What the answers to a question must lead to.
#[derive(Debug)]
pub(super) struct Answered {
    question: QuestionId,
    /// The worst health that a policy gave.
    health: Health,
    /// What the reason must begin with.
    reason: Vec<String>,
}

impl Answered {
    fn new(question: QuestionId, asked: usize, answers: &[PolicyAnswer]) -> Option<Self> {
        let verdicts = answers.iter().filter_map(|entry| match &entry.answer {
            Ok(Answer::Health(verdict)) => Some((&*entry.policy, verdict)),
            Ok(_) | Err(_) => None,
        });
        let verdicts: Vec<(&str, &HealthVerdict)> = verdicts.collect();
        let health = verdicts.iter().map(|(_, verdict)| verdict.health).max()?;
        let worst = verdicts
            .iter()
            .filter(|(_, verdict)| verdict.health == health);
        let reason = worst.map(|(policy, verdict)| match verdict.reason.as_str() {
            reason if asked > 1 && !reason.is_empty() => format!("{policy}: {reason}"),
            reason => reason.to_owned(),
        });
        Some(Self {
            question,
            health,
            reason: reason.collect(),
        })
    }
}

/// What the reason of a verdict on this question begins with.
pub(in crate::simulation) fn reason_prefix(question: QuestionId) -> String {
    format!("question {} ", question.0)
}

impl World {
    pub(super) fn check_ask(&mut self, ask: &Ask, key: &SlotKey) {
        let (now_ms, question) = (self.now_ms, ask.id);
        // A survivor may become ready, and be asked about, in one step: people did not see it before.
        let before = self.slot_before(key).and_then(|slot| slot.run);
        let adopting = self.watched.adopting.as_ref().filter(|(at, _)| at == key);
        let run = before.or(adopting.map(|(_, run)| *run)).unwrap_or(Run(0));
        let until_ms = ask.deadline_ms + SLACK_MS;
        let Some(slot) = self.watched.slots.get_mut(key) else {
            let how = format!("{key} is asked about and is not known");
            return self.fail(Property::QuestionEnds, how);
        };
        let open = slot.question.replace(question);
        let open = open.and_then(|open| self.watched.questions.remove(&open));
        if let Some(open) = &open
            && open.run == run
        {
            if open.until_ms > now_ms {
                let how = format!("{key} is asked about anew although {open:?} is still open");
                self.fail(Property::QuestionEnds, how);
            } else if let Some(slot) = self.watched.slots.get_mut(key) {
                slot.verdict_of = None;
                self.saw("default answered");
            }
        }
        let asked = AwaitedQuestion {
            key: key.clone(),
            run,
            asked: ask.policies.len(),
            until_ms,
        };
        self.watched.questions.insert(question, asked);
        if let Some(slot) = self.watched.slots.get_mut(key) {
            slot.judged_ms = now_ms;
        }
    }

    /// The slot that an open question is about.
    pub(super) fn asked_about(&self, question: QuestionId) -> Option<SlotKey> {
        let open = self.watched.questions.get(&question)?;
        Some(open.key.clone())
    }

    /// Policies answer, or fail to.
    pub(super) fn expect_answers(&mut self, question: QuestionId, answers: &[PolicyAnswer]) {
        let Some(open) = self.watched.questions.remove(&question) else {
            return;
        };
        let answered = Answered::new(question, open.asked, answers);
        if answered.is_none() {
            self.saw("default answered");
        }
        if let Some(slot) = self.watched.slots.get_mut(&open.key) {
            slot.question = None;
            slot.verdict_of = answered.is_some().then_some(question);
            self.watched.answered = answered;
        }
    }

    /// The policies changed: what was asked before is void.
    pub(super) fn void_questions(&mut self) {
        self.forget_takers();
        self.watched.questions.clear();
        for slot in self.watched.slots.values_mut() {
            slot.question = None;
        }
    }

    pub(super) fn check_question(&mut self, event: &Event, view: &SlotView) {
        let now_ms = self.now_ms;
        let open = self.fleet.open_question(&view.key);
        let held = self.held(&view.key.instance);
        let own = held.and_then(|held| held.spec.health_policies.as_ref());
        let asks = !own.unwrap_or(&self.settings.health_policies).is_empty();
        let every_ms = self.settings.health_every_ms + self.settings.question_ms + SLACK_MS;
        let Some(slot) = self.watched.slots.get_mut(&view.key) else {
            return;
        };
        let asked = slot.question.and_then(|id| self.watched.questions.get(&id));
        let is_over = asked.is_none_or(|asked| {
            asked.until_ms <= now_ms
                || view.run != Some(asked.run)
                || view.lifecycle != Lifecycle::Ready
        });
        if is_over && let Some(id) = slot.question.take() {
            self.watched.questions.remove(&id);
            slot.verdict_of = None;
        }
        if view.lifecycle != Lifecycle::Ready {
            slot.verdict_of = None;
            slot.judged_ms = now_ms;
        }
        let (expected, verdict_of, judged_ms) = (slot.question, slot.verdict_of, slot.judged_ms);
        if !asks {
            slot.judged_ms = now_ms;
        }
        if open != expected {
            let how = format!("{} waits for {open:?}; open is {expected:?}", view.key);
            return self.fail(Property::QuestionEnds, how);
        }
        let ready = view.lifecycle == Lifecycle::Ready;
        if ready && asks && now_ms > judged_ms + every_ms {
            let how = format!("{} has not been judged since {judged_ms}", view.key);
            return self.fail(Property::QuestionEnds, how);
        }
        let stated = view.reason.split("question ").nth(1);
        let stated = stated.and_then(|text| text.split(' ').next()?.parse().ok().map(QuestionId));
        if ready && stated.is_some() && stated != verdict_of {
            let how = format!(
                "{} stands by {stated:?}; the last answer was to {verdict_of:?}",
                view.key
            );
            return self.fail(Property::QuestionEnds, how);
        }
        if let Event::Policy(PolicyEvent::Answered { question, .. }) = event
            && ready
            && verdict_of == Some(*question)
            && let Some(answered) = &self.watched.answered
            && answered.question == *question
        {
            let begins = |reason: &String| view.reason.starts_with(reason);
            if view.health != Some(answered.health) || !answered.reason.iter().any(begins) {
                let (health, reason) = (view.health, &view.reason);
                let how = format!("{} is {health:?} for {reason:?}: {answered:?}", view.key);
                self.fail(Property::WorstCounts, how);
            }
        }
    }
}
