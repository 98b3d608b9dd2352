//! Questions to policies: each ends once, and where it got no answer the default stands. What a policy says is made
//! recognisable: the reason of its verdict names its question.

use crate::{
    Run, SlotKey,
    event::{Event, QuestionId},
    simulation::{property::Property, world::World},
    view::{Lifecycle, SlotView},
};

/// Time for an answer to come back after its deadline; the core's own patience must not be longer.
const SLACK_MS: u64 = 250;

/// A question that was asked.
#[derive(Debug)]
pub(super) struct Question {
    key: SlotKey,
    run: Run,
    until_ms: u64,
}

/// What the reason of a verdict on this question begins with.
pub(in crate::simulation) fn words(question: QuestionId) -> String {
    format!("question {} ", question.0)
}

impl World {
    pub(super) fn check_ask(&mut self, question: QuestionId, key: &SlotKey, deadline_ms: u64) {
        let now_ms = self.now_ms;
        // A survivor may become ready, and be asked about, in one step: people did not see it before.
        let before = self.slot_before(key).and_then(|slot| slot.run);
        let adopting = self.watched.adopting.as_ref().filter(|(at, _)| at == key);
        let run = before.or(adopting.map(|(_, run)| *run)).unwrap_or(Run(0));
        let until_ms = deadline_ms + SLACK_MS;
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
        let asked = Question {
            key: key.clone(),
            run,
            until_ms,
        };
        self.watched.questions.insert(question, asked);
        if let Some(slot) = self.watched.slots.get_mut(key) {
            slot.judged_ms = now_ms;
        }
    }

    /// A policy answers, or fails to.
    pub(super) fn expect_answer(&mut self, question: QuestionId, is_answer: bool) {
        let Some(asked) = self.watched.questions.remove(&question) else {
            return;
        };
        if let Some(slot) = self.watched.slots.get_mut(&asked.key) {
            slot.question = None;
            slot.verdict_of = is_answer.then_some(question);
            self.watched.answered = is_answer.then_some(question);
        }
        if !is_answer {
            self.saw("default answered");
        }
    }

    /// The policies changed: what was asked before is void.
    pub(super) fn void_questions(&mut self) {
        self.watched.questions.clear();
        for slot in self.watched.slots.values_mut() {
            slot.question = None;
        }
    }

    pub(super) fn check_question(&mut self, event: &Event, view: &SlotView) {
        let now_ms = self.now_ms;
        let open = self.fleet.open_question(&view.key);
        let policy = self.held(&view.key.instance);
        let policy = policy.and_then(|held| held.spec.health_policy.clone());
        let asks = policy.is_some() || self.settings.health_policy.is_some();
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
        let told = view.reason.strip_prefix("question ");
        let told = told.and_then(|text| text.split(' ').next()?.parse().ok().map(QuestionId));
        if ready && told.is_some() && told != verdict_of {
            let how = format!(
                "{} stands by {told:?}; the last answer was to {verdict_of:?}",
                view.key
            );
            return self.fail(Property::QuestionEnds, how);
        }
        if let Event::Answered { question, verdict } = event
            && ready
            && self.watched.answered == Some(*question)
            && verdict_of == Some(*question)
            && view.health != Some(verdict.health)
        {
            let how = format!("{} is {:?} although {verdict:?}", view.key, view.health);
            self.fail(Property::QuestionEnds, how);
        }
    }
}
