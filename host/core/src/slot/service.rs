//! What a ready slot lives by: its tools, its pings, its samples, and the verdict on its health.

use std::sync::Arc;

use crate::{
    action::{Action, SlotAction},
    event::Sample,
    health::{HealthFacts, HealthVerdict, builtin, combine},
    id::{Run, SlotKey},
    permit::ASKED_EVERY_MS,
    planted::Planted,
    policy::{ANSWER_SLACK_MS, Answer, Ask, PolicyAnswer, PolicyNames, Question, QuestionId},
    step::Step,
    time::earlier,
};

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Service {
    /// Sorted.
    pub(super) tools: Arc<[String]>,
    /// What the baseline has and `tools` lacks.
    pub(super) missing: Vec<String>,
    pub(super) sample: Sample,
    pub(super) verdict: HealthVerdict,
    last_answer_ms: u64,
    next_ping_ms: u64,
    ping_due_ms: Option<u64>,
    pub(super) pings_failed: u32,
    ping_ms: Option<f64>,
    next_ask_ms: u64,
    pending: Option<Pending>,
    pub(super) judged: Judged,
}

/// How the last answers stand beside the built-in rule.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Judged {
    /// Who was asked last.
    pub(super) by: PolicyNames,
    /// It does not serve by the built-in rule either.
    pub(super) is_unfit: bool,
    /// Those that took it away although it serves by that rule.
    pub(super) taken_by: Vec<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Pending {
    question: QuestionId,
    policies: PolicyNames,
    until_ms: u64,
}

/// What a slot knows that its service does not, for the facts of a question.
pub(super) struct About<'a> {
    pub(super) key: &'a SlotKey,
    pub(super) uptime_ms: u64,
    pub(super) memory_limit_bytes: Option<u64>,
    pub(super) restarts_recent: u32,
}

impl Service {
    /// A slot that became ready just now. It is pinged after one interval, and judged at once.
    pub(super) fn new(
        now_ms: u64,
        tools: Vec<String>,
        missing: Vec<String>,
        ping_every_ms: u64,
    ) -> Self {
        Self {
            tools: tools.into(),
            missing,
            sample: Sample::default(),
            verdict: HealthVerdict::healthy(),
            last_answer_ms: now_ms,
            next_ping_ms: now_ms.saturating_add(ping_every_ms),
            ping_due_ms: None,
            pings_failed: 0,
            ping_ms: None,
            next_ask_ms: now_ms,
            pending: None,
            judged: Judged::default(),
        }
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        // While a question is open no other one is asked.
        let pending = self.pending.as_ref().map(|pending| pending.until_ms);
        let judge = pending.or(Some(self.next_ask_ms));
        let ping = earlier(Some(self.next_ping_ms), self.ping_due_ms);
        earlier(judge, ping)
    }

    /// Settings may have been changed to shorter intervals than the ones that the next ping and question wait for.
    pub(super) fn hasten(&mut self, step: &Step<'_>, asks: bool) {
        let after = |every_ms: u64| step.now_ms.saturating_add(every_ms.max(1));
        self.next_ping_ms = self.next_ping_ms.min(after(ping_every_ms(step, asks)));
        self.next_ask_ms = self.next_ask_ms.min(after(step.settings.health_every_ms));
    }

    /// The policy is another one: what the one before still has to say is of no interest.
    pub(super) fn judge_anew(&mut self, now_ms: u64) {
        self.pending = None;
        self.judged.taken_by.clear();
        self.judge_at(now_ms);
    }

    pub(super) fn judge_at(&mut self, now_ms: u64) {
        self.next_ask_ms = self.next_ask_ms.min(now_ms);
    }

    /// The breaker asks: a ping is due now. One that is under way has not failed.
    pub(super) fn ask_at(&mut self, now_ms: u64) {
        self.ping_due_ms = None;
        self.next_ping_ms = now_ms;
    }

    pub(super) fn clear_missing(&mut self, now_ms: u64) {
        self.missing.clear();
        self.judge_at(now_ms);
    }

    pub(super) fn sampled(&mut self, now_ms: u64, sample: Sample) {
        if let Some(ago_ms) = sample.answered_ago_ms {
            self.last_answer_ms = self.last_answer_ms.max(now_ms.saturating_sub(ago_ms));
        }
        self.sample = sample;
    }

    pub(super) fn ping_answered(&mut self, now_ms: u64, rtt_ms: f64) {
        if self.pings_failed > 0 {
            self.judge_at(now_ms);
        }
        self.last_answer_ms = now_ms;
        self.ping_due_ms = None;
        self.pings_failed = 0;
        self.ping_ms = Some(rtt_ms);
    }

    pub(super) fn ping_failed(&mut self, now_ms: u64) {
        // Only the ping that is waited for can fail, and only once.
        if self.ping_due_ms.take().is_some() {
            self.pings_failed = self.pings_failed.saturating_add(1);
            self.judge_at(now_ms);
        }
    }

    /// Sends a ping when one is due, and gives up one that is overdue. They come more often while the breaker asks.
    pub(super) fn ping(&mut self, step: &mut Step<'_>, key: &SlotKey, run: Run, asks: bool) {
        let now_ms = step.now_ms;
        if self.ping_due_ms.is_some_and(|due_ms| due_ms <= now_ms) {
            self.ping_failed(now_ms);
        }
        if self.next_ping_ms > now_ms {
            return;
        }
        self.ping_failed(now_ms);
        self.next_ping_ms = now_ms.saturating_add(ping_every_ms(step, asks).max(1));
        let deadline_ms = now_ms.saturating_add(step.settings.ping_timeout_ms);
        self.ping_due_ms = Some(deadline_ms.saturating_add(ANSWER_SLACK_MS));
        let for_breaker = asks;
        let ping = SlotAction::Ping {
            deadline_ms,
            for_breaker,
        };
        step.push_for(key, run, ping);
    }

    /// Asks the policies when that is due and no question is open: they are asked no faster than they answer. Where there are
    /// none, or their time is up, the built-in rule answers.
    pub(super) fn judge(&mut self, step: &mut Step<'_>, about: &About<'_>, policies: &PolicyNames) {
        let now_ms = step.now_ms;
        let is_overdue = self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.until_ms <= now_ms);
        if is_overdue && !step.bugs.has(Planted::QuestionNeverEnds) {
            self.answer_default(step, about);
        }
        if self.next_ask_ms > now_ms || self.pending.is_some() {
            return;
        }
        self.next_ask_ms = now_ms.saturating_add(step.settings.health_every_ms.max(1));
        if self.judged.by != *policies {
            self.judged.by = Arc::clone(policies);
            self.judged.taken_by.clear();
        }
        if policies.is_empty() {
            self.answer_builtin(now_ms, about);
            return;
        }
        let id = step.counters.question();
        let deadline_ms = now_ms.saturating_add(step.settings.question_ms);
        self.pending = Some(Pending {
            question: id,
            policies: Arc::clone(policies),
            until_ms: deadline_ms.saturating_add(ANSWER_SLACK_MS),
        });
        let question = Question::Health {
            key: about.key.clone(),
            facts: Box::new(self.facts(now_ms, about)),
        };
        step.push(Action::Ask(Ask {
            id,
            policies: Arc::clone(policies),
            question,
            deadline_ms,
            candidate: None,
        }));
    }

    pub(super) fn open_question(&self) -> Option<QuestionId> {
        self.pending.as_ref().map(|pending| pending.question)
    }

    /// Takes in what the policies answered to the open question; where none did, the built-in rule answers.
    pub(super) fn answered(
        &mut self,
        step: &Step<'_>,
        about: &About<'_>,
        answers: Vec<PolicyAnswer>,
    ) {
        let Some(pending) = &self.pending else {
            return;
        };
        let mut verdicts = verdicts(&pending.policies, answers);
        if step.bugs.has(Planted::LastAnswerCounts) {
            verdicts.drain(..verdicts.len().saturating_sub(1));
        }
        let Some(verdict) = combine(pending.policies.len(), &verdicts) else {
            return self.answer_default(step, about);
        };
        if !step.bugs.has(Planted::AnsweredTwice) {
            self.pending = None;
        }
        let takers = verdicts.into_iter();
        let takers = takers.filter(|(_, verdict)| verdict.takes_away());
        let takers: Vec<Arc<str>> = takers.map(|(policy, _)| policy).collect();
        // Nearly always nobody takes it away, and the built-in rule need not be asked.
        self.judged.is_unfit =
            !takers.is_empty() && builtin(&self.facts(step.now_ms, about)).takes_away();
        self.judged.taken_by = if self.judged.is_unfit {
            Vec::new()
        } else {
            takers
        };
        self.verdict = verdict;
    }

    /// The policies gave no answer to the open question.
    fn answer_default(&mut self, step: &Step<'_>, about: &About<'_>) {
        if step.bugs.has(Planted::DefaultForgotten) {
            self.pending = None;
            return;
        }
        self.answer_builtin(step.now_ms, about);
    }

    pub(super) fn answer_builtin(&mut self, now_ms: u64, about: &About<'_>) {
        self.pending = None;
        self.verdict = builtin(&self.facts(now_ms, about));
        self.judged.is_unfit = self.verdict.takes_away();
        self.judged.taken_by.clear();
    }

    /// How long ago it last answered anything.
    pub(super) fn heartbeat_age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.last_answer_ms)
    }

    pub(super) fn facts(&self, now_ms: u64, about: &About<'_>) -> HealthFacts {
        HealthFacts {
            instance: about.key.instance.as_str().to_owned(),
            slot: about.key.slot,
            uptime_ms: about.uptime_ms,
            memory_bytes: self.sample.memory_bytes,
            memory_limit_bytes: about.memory_limit_bytes,
            heartbeat_age_ms: self.heartbeat_age_ms(now_ms),
            pings_failed: self.pings_failed,
            ping_ms: self.ping_ms,
            window_requests: self.sample.window_requests,
            window_errors: self.sample.window_errors,
            window_p95_ms: self.sample.window_p95_ms,
            restarts_recent: about.restarts_recent,
            in_flight: self.sample.in_flight,
            tools_missing: self.missing.clone(),
            tools_count: u32::try_from(self.tools.len()).unwrap_or(u32::MAX),
            attributes: Vec::new(),
        }
    }
}

fn ping_every_ms(step: &Step<'_>, asks: bool) -> u64 {
    let every_ms = step.settings.ping_every_ms;
    if asks {
        every_ms.min(ASKED_EVERY_MS)
    } else {
        every_ms
    }
}

/// What the policies that were asked answered, in the order configured.
fn verdicts(
    policies: &PolicyNames,
    mut answers: Vec<PolicyAnswer>,
) -> Vec<(Arc<str>, HealthVerdict)> {
    let verdicts = policies.iter().filter_map(|policy| {
        let at = answers.iter().position(|entry| entry.policy == *policy)?;
        match answers.swap_remove(at).answer {
            Ok(Answer::Health(verdict)) => Some((Arc::clone(policy), verdict)),
            Ok(_) | Err(_) => None,
        }
    });
    verdicts.collect()
}
