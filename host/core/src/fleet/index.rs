//! What the fleet knows of its instances without going through them: when each is due, whose a question is, and how many are
//! wanted, able to serve, in trouble and alive. A step brings it up to date for the instances that it touched, so that the cost
//! of an event does not grow with the fleet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    capacity::{TemplateLoad, Usage},
    id::{InstanceId, SlotKey},
    instance::{IndexEntry, Instance},
    planted::{Bugs, Planted},
    policy::QuestionId,
    step::{FleetPhase, Step},
};

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Index {
    wakes: BTreeSet<(u64, InstanceId)>,
    questions: BTreeMap<QuestionId, Subject>,
    /// How many of them are for plans of breakers.
    plan_questions: usize,
    /// The instances whose question for a plan waits for its turn, the longest waiting first.
    plan_waits: BTreeSet<(u64, InstanceId)>,
    troubled: BTreeSet<InstanceId>,
    defined: usize,
    alive: usize,
    wanted: usize,
    able: usize,
    slots_wanted: u32,
    slots_recycling: u32,
    enforced: usize,
    tripped: usize,
    /// Those of the tripped that were CLOSED not long ago, and when.
    tripped_lately: BTreeSet<(u64, InstanceId)>,
    /// What all instances have in use together; wide enough for any sum.
    in_flight: u64,
    memory_bytes: u128,
    /// Instances that count against limits of what runs, and those whose memory is known.
    places: usize,
    measured: usize,
    templates: BTreeMap<Arc<str>, TemplateCount>,
    /// Those that wait for a place, by template, in their order.
    waiting: BTreeMap<Arc<str>, BTreeMap<u64, InstanceId>>,
    /// When their waits are over.
    wait_ends: BTreeSet<(u64, InstanceId)>,
    /// What each policy judges.
    judged: BTreeMap<Arc<str>, JudgedCount>,
}

/// What one policy judges of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct JudgedCount {
    /// What serves by the built-in rule.
    pub(super) serving: usize,
    /// What of it the policy has taken away, or would, …
    pub(super) taken: usize,
    /// … and of how many instances that is.
    pub(super) instances: usize,
}

/// The instances of one template.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct TemplateCount {
    instances: u32,
    running: u32,
    places: u32,
}

/// What a question is about.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Subject {
    Slot(SlotKey),
    Instance(InstanceId),
}

impl Index {
    /// Lets an instance settle, and takes over what is then known of it. False: it is gone for good.
    pub(super) fn settle(&mut self, instance: &mut Instance, step: &mut Step<'_>) -> bool {
        let is_gone = instance.settle(step);
        let entry = if is_gone {
            IndexEntry::default()
        } else {
            instance.index_entry(step.phase, step.bugs)
        };
        self.replace(instance, entry);
        !is_gone
    }

    /// Takes over what is known of an instance.
    pub(super) fn update(&mut self, instance: &mut Instance, phase: FleetPhase, bugs: Bugs) {
        let entry = instance.index_entry(phase, bugs);
        self.replace(instance, entry);
    }

    fn replace(&mut self, instance: &mut Instance, entry: IndexEntry) {
        let old = std::mem::replace(&mut instance.indexed, entry);
        let (new, id) = (&instance.indexed, instance.id());
        if old.wake_ms != new.wake_ms {
            if let Some(at_ms) = old.wake_ms {
                self.wakes.remove(&(at_ms, id.clone()));
            }
            if let Some(at_ms) = new.wake_ms {
                self.wakes.insert((at_ms, id.clone()));
            }
        }
        if old.questions != new.questions {
            for (question, _) in &old.questions {
                self.questions.remove(question);
            }
            for (question, slot) in &new.questions {
                let (instance, slot) = (id.clone(), *slot);
                let subject = Subject::Slot(SlotKey { instance, slot });
                self.questions.insert(*question, subject);
            }
        }
        if old.plan_question != new.plan_question {
            if let Some(question) = old.plan_question {
                self.questions.remove(&question);
                self.plan_questions -= 1;
            }
            if let Some(question) = new.plan_question {
                let subject = Subject::Instance(id.clone());
                self.questions.insert(question, subject);
                self.plan_questions += 1;
            }
        }
        if old.plan_waits_since_ms != new.plan_waits_since_ms {
            if let Some(since_ms) = old.plan_waits_since_ms {
                self.plan_waits.remove(&(since_ms, id.clone()));
            }
            if let Some(since_ms) = new.plan_waits_since_ms {
                self.plan_waits.insert((since_ms, id.clone()));
            }
        }
        if old.troubled && !new.troubled {
            self.troubled.remove(id);
        } else if !old.troubled && new.troubled {
            self.troubled.insert(id.clone());
        }
        let adjust = |count: &mut usize, was: bool, is: bool| {
            *count = (*count + usize::from(is)) - usize::from(was);
        };
        adjust(&mut self.defined, old.defined, new.defined);
        adjust(&mut self.alive, old.alive, new.alive);
        adjust(&mut self.wanted, old.wanted, new.wanted);
        adjust(&mut self.able, old.able, new.able);
        self.slots_wanted = (self.slots_wanted + new.slots_wanted) - old.slots_wanted;
        self.slots_recycling = (self.slots_recycling + new.slots_recycling) - old.slots_recycling;
        adjust(&mut self.enforced, old.enforced, new.enforced);
        let (was_ms, is_ms) = (old.tripped_ms, new.tripped_ms);
        adjust(&mut self.tripped, was_ms.is_some(), is_ms.is_some());
        if was_ms != is_ms {
            if let Some(at_ms) = was_ms {
                self.tripped_lately.remove(&(at_ms, id.clone()));
            }
            if let Some(at_ms) = is_ms {
                self.tripped_lately.insert((at_ms, id.clone()));
            }
        }
        self.count_usage(&old, &instance.indexed);
        self.count_judged(&old, &instance.indexed);
        self.count_waiting(instance.id(), &old, &instance.indexed);
    }

    fn count_usage(&mut self, old: &IndexEntry, new: &IndexEntry) {
        let (was, is) = (old.usage, new.usage);
        self.in_flight = self.in_flight + u64::from(is.in_flight) - u64::from(was.in_flight);
        let bytes = |usage: Usage| u128::from(usage.memory_bytes);
        self.memory_bytes = self.memory_bytes + bytes(is) - bytes(was);
        let adjust = |count: &mut usize, was: bool, is: bool| {
            *count = (*count + usize::from(is)) - usize::from(was);
        };
        adjust(&mut self.places, old.place, new.place);
        adjust(
            &mut self.measured,
            was.memory_bytes > 0,
            is.memory_bytes > 0,
        );
        let before = (&old.template, was.running, old.place);
        if before != (&new.template, is.running, new.place) {
            // The new one first: what stays is not dropped in between.
            if let Some(template) = &new.template {
                let count = self.templates.entry(Arc::clone(template)).or_default();
                count.instances += 1;
                count.running += is.running;
                count.places += u32::from(new.place);
            }
            if let Some(template) = &old.template
                && let Some(count) = self.templates.get_mut(template)
            {
                count.instances -= 1;
                count.running -= was.running;
                count.places -= u32::from(old.place);
                if count.instances == 0 {
                    self.templates.remove(template);
                }
            }
        }
    }

    fn count_judged(&mut self, old: &IndexEntry, new: &IndexEntry) {
        if old.judged == new.judged {
            return;
        }
        for one in &new.judged {
            let count = self.judged.entry(Arc::clone(&one.policy)).or_default();
            count.serving += one.serving as usize;
            count.taken += one.taken as usize;
            count.instances += usize::from(one.taken > 0);
        }
        for one in &old.judged {
            if let Some(count) = self.judged.get_mut(&one.policy) {
                count.serving -= one.serving as usize;
                count.taken -= one.taken as usize;
                count.instances -= usize::from(one.taken > 0);
                if count.serving == 0 {
                    self.judged.remove(&one.policy);
                }
            }
        }
    }

    /// What each policy judges of the fleet.
    pub(super) fn judged(&self) -> impl Iterator<Item = (&Arc<str>, &JudgedCount)> {
        self.judged.iter()
    }

    /// What one of them judges.
    pub(super) fn judged_by(&self, policy: &str) -> JudgedCount {
        self.judged.get(policy).copied().unwrap_or_default()
    }

    fn count_waiting(&mut self, id: &InstanceId, old: &IndexEntry, new: &IndexEntry) {
        if (old.waiting, &old.template) == (new.waiting, &new.template) {
            return;
        }
        if let Some((sequence, until_ms)) = old.waiting {
            self.wait_ends.remove(&(until_ms, id.clone()));
            let template = old.template.clone().unwrap_or_default();
            if let Some(queue) = self.waiting.get_mut(&template) {
                queue.remove(&sequence);
                if queue.is_empty() {
                    self.waiting.remove(&template);
                }
            }
        }
        if let Some((sequence, until_ms)) = new.waiting {
            self.wait_ends.insert((until_ms, id.clone()));
            let template = new.template.clone().unwrap_or_default();
            let queue = self.waiting.entry(template).or_default();
            queue.insert(sequence, id.clone());
        }
    }

    /// Instances that count against limits of what runs.
    pub(super) fn places(&self) -> usize {
        self.places
    }

    /// Those of one template.
    pub(super) fn places_of(&self, template: &str) -> u64 {
        let count = self.templates.get(template);
        count.map_or(0, |count| count.places.into())
    }

    /// Memory in use once what has a place has been measured: what has not counts as much as the others do on average, so that
    /// not everybody who waits is admitted at once.
    pub(super) fn expected_memory_bytes(&self) -> u64 {
        let unknown = self.places.saturating_sub(self.measured) as u128;
        let each = self.memory_bytes.checked_div(self.measured as u128);
        let expected = self.memory_bytes + unknown * each.unwrap_or(0);
        u64::try_from(expected).unwrap_or(u64::MAX)
    }

    /// How many wait for a place.
    pub(super) fn waiting(&self) -> usize {
        self.wait_ends.len()
    }

    /// One whose wait is over.
    pub(super) fn wait_over(&self, now_ms: u64) -> Option<&InstanceId> {
        let (until_ms, id) = self.wait_ends.first()?;
        (*until_ms <= now_ms).then_some(id)
    }

    /// When the first wait is over.
    pub(super) fn next_wait_end(&self) -> Option<u64> {
        self.wait_ends.first().map(|(until_ms, _)| *until_ms)
    }

    /// Of each template the one that came first, with its place in the order.
    pub(super) fn waiting_by_template(
        &self,
        bugs: Bugs,
    ) -> impl Iterator<Item = (&Arc<str>, u64, &InstanceId)> {
        self.waiting.iter().filter_map(move |(template, queue)| {
            let first = if bugs.has(Planted::LastComesFirst) {
                queue.last_key_value()
            } else {
                queue.first_key_value()
            };
            first.map(|(sequence, id)| (template, *sequence, id))
        })
    }

    /// When the first of the instances is due.
    pub(super) fn next_wake(&self) -> Option<u64> {
        self.wakes.first().map(|(at_ms, _)| *at_ms)
    }

    /// The instances that are due.
    pub(super) fn due(&self, now_ms: u64) -> impl Iterator<Item = &InstanceId> {
        let due = self
            .wakes
            .iter()
            .take_while(move |(at_ms, _)| *at_ms <= now_ms);
        due.map(|(_, id)| id)
    }

    /// What an open question is about.
    pub(super) fn asked_about(&self, question: QuestionId) -> Option<&Subject> {
        self.questions.get(&question)
    }

    /// Open questions for plans of breakers.
    pub(super) fn plan_questions(&self) -> usize {
        self.plan_questions
    }

    /// Whose question for a plan waits longest for its turn.
    pub(super) fn first_plan_waiting(&self) -> Option<&InstanceId> {
        self.plan_waits.first().map(|(_, id)| id)
    }

    /// Instances that a source defines.
    pub(super) fn defined(&self) -> usize {
        self.defined
    }

    /// Instances of which something may live, for which this router is answerable.
    pub(super) fn alive(&self) -> usize {
        self.alive
    }

    /// What all instances have in use together, at their last samples.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            running: u32::try_from(self.alive).unwrap_or(u32::MAX),
            in_flight: u32::try_from(self.in_flight).unwrap_or(u32::MAX),
            memory_bytes: u64::try_from(self.memory_bytes).unwrap_or(u64::MAX),
        }
    }

    /// What there is of each of these templates.
    pub(super) fn templates(&self, names: &[Arc<str>]) -> Vec<TemplateLoad> {
        let load = |name: &Arc<str>| {
            let count = self.templates.get(name).copied().unwrap_or_default();
            TemplateLoad {
                name: Arc::clone(name),
                instances: count.instances,
                running: count.running,
            }
        };
        names.iter().map(load).collect()
    }

    /// Instances that are meant to run.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Those of the wanted that can serve.
    pub(super) fn able(&self) -> usize {
        self.able
    }

    /// Instances whose breakers are judged together.
    pub(super) fn enforced(&self) -> usize {
        self.enforced
    }

    /// Those of them whose breaker is not CLOSED.
    pub(super) fn tripped(&self) -> usize {
        self.tripped
    }

    /// Those of them whose breaker was CLOSED not long ago.
    pub(super) fn tripped_lately(&self) -> usize {
        self.tripped_lately.len()
    }

    /// What tripped `lately_ms` ago is no longer lately. Each is forgotten once, so that no step pays for the fleet.
    pub(super) fn forget_trips(&mut self, now_ms: u64, lately_ms: u64) {
        while let Some((at_ms, _)) = self.tripped_lately.first()
            && at_ms.saturating_add(lately_ms) <= now_ms
        {
            self.tripped_lately.pop_first();
        }
    }

    /// Slots that may yet be recycled on a policy's word, where a share of those that are meant to run may be at once, but always
    /// one.
    pub(super) fn recycles_left(&self, share_max: f64) -> u32 {
        let most = (share_max * f64::from(self.slots_wanted)) as u32;
        most.max(1).saturating_sub(self.slots_recycling)
    }

    /// Those of the wanted that are not well, by id.
    pub(super) fn troubled(&self) -> &BTreeSet<InstanceId> {
        &self.troubled
    }
}
