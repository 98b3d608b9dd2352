//! What waits for one sink, in which order it goes, and what holds it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    Delivery, HeldBy, Precedence,
    planted::{PlantedBug, PlantedBugs},
    retry,
    sink_breaker::SinkBreaker,
    sinks::SinkSchedule,
};
use crate::{AlertId, AlertRef, DeliveryId, Severity, notice::Receipt};

/// Receipts kept for one sink: 4 MiB at most. The oldest goes first: its group's next message is then a new one.
const RECEIPTS_MAX: usize = 4_096;
/// Firings kept that one sink has heard of. The oldest numbers go first: what is forgotten may be sent twice, by a fallback.
const HEARD_MAX: usize = 20_000;

/// One delivery on its way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct QueueEntry {
    pub(super) delivery: Arc<Delivery>,
    pub(super) state: EntryState,
    /// What was reported last to hold it. Not kept over restarts.
    pub(super) held: Option<HeldBy>,
}

/// What is kept of a delivery beside what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EntryState {
    /// Its place among all.
    pub(super) seq: u64,
    /// Since when it waits, in milliseconds since 1970.
    pub(super) since_ms: u64,
    /// As urgent as what waits behind it.
    pub(super) severity: Severity,
    /// As above.
    pub(super) precedence: Precedence,
    /// Firings that the sink hears of for the first time by this.
    pub(super) first: Vec<AlertRef>,
    /// Of these, what is over before it was sent.
    pub(super) over: Vec<AlertRef>,
    /// Attempts that were begun. From the first on what it says is frozen.
    pub(super) attempts: u32,
    /// Of these, since it was queued or an operator queued it again, and without those that ended with the router.
    pub(super) tries: u32,
    /// It is not attempted before.
    pub(super) next_ms: u64,
    /// An attempt is under way, since then.
    pub(super) in_flight_ms: Option<u64>,
    /// An attempt may have arrived although nothing said so.
    pub(super) may_have_arrived: bool,
    /// The fallback has it too, or needs it not.
    pub(super) fell_back: bool,
    /// A resolve that follows a dead letter that an operator sent again: it is sent whatever was sent before.
    pub(super) is_repeat: bool,
    /// Why the last attempt failed.
    pub(super) failure: Option<String>,
    /// It is a dead letter, since then and for this reason.
    pub(super) dead: Option<(u64, String)>,
    /// Resolves that were not needed, should an operator send this dead letter after all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) resolves: Vec<Arc<Delivery>>,
}

impl QueueEntry {
    pub(super) fn new(delivery: Delivery, seq: u64, now_ms: u64) -> Self {
        let state = EntryState {
            seq,
            since_ms: now_ms.max(delivery.not_before_ms),
            severity: delivery.severity,
            precedence: delivery.precedence,
            first: Vec::new(),
            over: Vec::new(),
            attempts: 0,
            tries: 0,
            next_ms: delivery.not_before_ms,
            in_flight_ms: None,
            may_have_arrived: false,
            fell_back: false,
            is_repeat: false,
            failure: None,
            dead: None,
            resolves: Vec::new(),
        };
        Self {
            delivery: Arc::new(delivery),
            state,
            held: None,
        }
    }

    /// What it says may still change.
    pub(super) fn is_open(&self) -> bool {
        self.state.attempts == 0
    }

    pub(super) fn is_resolve(&self) -> bool {
        self.delivery.precedence == Precedence::Resolve
    }

    /// When it is given up, whatever holds it.
    pub(super) fn expires_ms(&self) -> u64 {
        self.state.since_ms + retry::age_ms_max(self.state.severity)
    }
}

/// What is kept in order: news of one alert, and messages about one group, whose receipts build on each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum OrderKey {
    Alert(AlertId),
    Group(Arc<str>),
}

fn order_keys(delivery: &Delivery) -> impl Iterator<Item = OrderKey> {
    let alerts = delivery.news.iter().map(|news| OrderKey::Alert(news.alert));
    alerts.chain([OrderKey::Group(Arc::clone(&delivery.group_key))])
}

/// See the module.
#[derive(Debug)]
pub(super) struct SinkQueue {
    pub(super) settings: SinkSchedule,
    entries: BTreeMap<u64, QueueEntry>,
    lines: BTreeMap<OrderKey, BTreeSet<u64>>,
    pub(super) breaker: SinkBreaker,
    /// The other side asked to be left alone until then.
    pub(super) retry_after_ms: u64,
    /// The rate permits the next attempt then.
    pub(super) next_free_ms: u64,
    /// It takes nothing any more, for this reason.
    pub(super) gone: Option<String>,
    /// Why the last attempt failed, if it did. Not kept over restarts.
    pub(super) failure: Option<String>,
    pub(super) in_flight: u32,
    /// With the number of the delivery that each came from.
    pub(super) receipts: BTreeMap<Arc<str>, (u64, Receipt)>,
    /// Firings that it heard of and that are not over, each with the last step of the alert that it heard of.
    pub(super) heard: BTreeMap<AlertRef, u32>,
    /// When it wants to be looked at again.
    pub(super) wake_ms: Option<u64>,
}

impl SinkQueue {
    pub(super) fn new(settings: SinkSchedule) -> Self {
        Self {
            settings,
            entries: BTreeMap::new(),
            lines: BTreeMap::new(),
            breaker: SinkBreaker::default(),
            retry_after_ms: 0,
            next_free_ms: 0,
            gone: None,
            failure: None,
            in_flight: 0,
            receipts: BTreeMap::new(),
            heard: BTreeMap::new(),
            wake_ms: None,
        }
    }

    pub(super) fn insert(&mut self, entry: QueueEntry) {
        let seq = entry.state.seq;
        for key in order_keys(&entry.delivery) {
            self.lines.entry(key).or_default().insert(seq);
        }
        self.entries.insert(seq, entry);
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<QueueEntry> {
        let entry = self.entries.remove(&seq)?;
        for key in order_keys(&entry.delivery) {
            if let Some(line) = self.lines.get_mut(&key) {
                line.remove(&seq);
                if line.is_empty() {
                    self.lines.remove(&key);
                }
            }
        }
        Some(entry)
    }

    /// Changes what an entry says, and keeps the lines true to it.
    pub(super) fn edit(&mut self, seq: u64, change: impl FnOnce(&mut QueueEntry)) {
        if let Some(mut entry) = self.remove(seq) {
            change(&mut entry);
            self.insert(entry);
        }
    }

    pub(super) fn get(&self, seq: u64) -> Option<&QueueEntry> {
        self.entries.get(&seq)
    }

    pub(super) fn state_mut(&mut self, seq: u64) -> Option<&mut EntryState> {
        self.entries.get_mut(&seq).map(|entry| &mut entry.state)
    }

    pub(super) fn set_held(&mut self, seq: u64, held: Option<HeldBy>) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.held = held;
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &QueueEntry> {
        self.entries.values()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Numbers of what waits about an alert, in order.
    pub(super) fn about(&self, alert: AlertId) -> Vec<u64> {
        let line = self.lines.get(&OrderKey::Alert(alert));
        line.into_iter().flatten().copied().collect()
    }

    /// Numbers of all that has to be over before this one.
    pub(super) fn ahead_of(&self, entry: &QueueEntry) -> BTreeSet<u64> {
        let mut ahead = BTreeSet::new();
        let mut next = vec![(entry.state.seq, Arc::clone(&entry.delivery))];
        while let Some((seq, delivery)) = next.pop() {
            let lines = order_keys(&delivery).filter_map(|key| self.lines.get(&key));
            for first in lines.flat_map(|line| line.range(..seq)) {
                if ahead.insert(*first)
                    && let Some(entry) = self.entries.get(first)
                {
                    next.push((*first, Arc::clone(&entry.delivery)));
                }
            }
        }
        ahead
    }

    /// The number of one of those, that stands first in its line.
    pub(super) fn first_ahead_of(&self, entry: &QueueEntry) -> Option<u64> {
        let mut lines = order_keys(&entry.delivery).filter_map(|key| self.lines.get(&key));
        lines.find_map(|line| line.first().copied().filter(|seq| *seq < entry.state.seq))
    }

    pub(super) fn is_blocked(&self, entry: &QueueEntry, bugs: PlantedBugs) -> bool {
        if bugs.has(PlantedBug::ResolveOvertakes) && entry.is_resolve() {
            return false;
        }
        self.first_ahead_of(entry).is_some()
    }

    /// The one that can take in or be taken in by a new delivery: the last about its group, never attempted, and nothing that is
    /// ordered stands between.
    pub(super) fn regroups_with(&self, delivery: &Delivery, bugs: PlantedBugs) -> Option<u64> {
        let group = OrderKey::Group(Arc::clone(&delivery.group_key));
        let last = *self.lines.get(&group)?.last()?;
        let entry = self.entries.get(&last)?;
        let is_clear = |news: &AlertRef| {
            let line = self.lines.get(&OrderKey::Alert(news.alert));
            let is_last = line.and_then(BTreeSet::last).is_none_or(|seq| *seq <= last);
            let mut known = entry.delivery.news.iter();
            is_last && known.all(|known| known.alert != news.alert || known == news)
        };
        let fits = (entry.is_open() || bugs.has(PlantedBug::FrozenRegroups))
            && entry.state.in_flight_ms.is_none()
            && entry.state.over.is_empty()
            && entry.delivery.is_alarm()
            && delivery.is_alarm()
            && delivery.news.iter().all(is_clear);
        fits.then_some(last)
    }

    /// What holds everything, and until when.
    pub(super) fn hold(&self, now_ms: u64) -> Option<(HeldBy, u64)> {
        if self.retry_after_ms > now_ms {
            return Some((HeldBy::RetryAfter, self.retry_after_ms));
        }
        if let Some(until_ms) = self.breaker.open_until_ms(now_ms) {
            return Some((HeldBy::Breaker, until_ms));
        }
        (self.next_free_ms > now_ms).then_some((HeldBy::RateLimit, self.next_free_ms))
    }

    /// Whether one more may be under way, for a P1 and for others.
    pub(super) fn room(&self, now_ms: u64) -> (bool, bool) {
        let most = if self.breaker.is_half_open(now_ms) {
            1
        } else {
            self.settings.at_once_max.max(1)
        };
        let ordinary_most = most.saturating_sub(1).max(1);
        (self.in_flight < most, self.in_flight < ordinary_most)
    }

    /// The next to be attempted. In half-open the one that was tried least: a delivery that the receiver can never take would
    /// else keep everything from it.
    pub(super) fn pick(&self, now_ms: u64, others: bool, bugs: PlantedBugs) -> Option<u64> {
        let is_half_open = self.breaker.is_half_open(now_ms);
        let rank = |entry: &QueueEntry| {
            let state = &entry.state;
            let tries = if is_half_open { state.tries } else { 0 };
            let precedence = if bugs.has(PlantedBug::NoPrecedence) {
                Precedence::Reminder
            } else {
                state.precedence
            };
            (tries, precedence, state.severity, state.seq)
        };
        let mut best: Option<&QueueEntry> = None;
        for entry in self.entries.values() {
            let state = &entry.state;
            let is_due = state.in_flight_ms.is_none() && state.next_ms <= now_ms;
            let has_room = others || state.severity == Severity::P1;
            let is_better = best.is_none_or(|best| rank(entry) < rank(best));
            if is_due && has_room && is_better && !self.is_blocked(entry, bugs) {
                best = Some(entry);
            }
        }
        best.map(|entry| entry.state.seq)
    }

    /// Keeps what the sink returned for the group.
    pub(super) fn keep_receipt(
        &mut self,
        entry: &QueueEntry,
        receipt: Receipt,
    ) -> Option<Arc<str>> {
        let group = Arc::clone(&entry.delivery.group_key);
        self.receipts.insert(group, (entry.state.seq, receipt));
        if self.receipts.len() <= RECEIPTS_MAX {
            return None;
        }
        let oldest = self.receipts.iter().min_by_key(|(_, (seq, _))| *seq);
        let oldest = oldest.map(|(group, _)| Arc::clone(group))?;
        self.receipts.remove(&oldest);
        Some(oldest)
    }

    /// The sink heard of a firing. What has to be forgotten for it.
    pub(super) fn hear(&mut self, firing: AlertRef, step: u32) -> Option<AlertRef> {
        let last = self.heard.entry(firing).or_insert(step);
        *last = step.max(*last);
        if self.heard.len() <= HEARD_MAX {
            return None;
        }
        let least = self.heard.keys().min_by_key(|one| (one.firing, one.alert));
        let least = least.copied()?;
        self.heard.remove(&least);
        Some(least)
    }

    /// Whether the sink knows of a firing, or is about to.
    pub(super) fn knows(&self, firing: AlertRef) -> bool {
        self.heard.contains_key(&firing)
            || self.about(firing.alert).iter().any(|seq| {
                let entry = self.entries.get(seq);
                entry.is_some_and(|entry| {
                    !entry.is_resolve() && entry.delivery.news.contains(&firing)
                })
            })
    }

    /// Whether a sink with groups knows of an earlier firing of the alert, or is about to, and so wants to hear that it is over. One
    /// that gets one delivery per alert hears of each firing by itself.
    pub(super) fn knows_earlier(&self, firing: AlertRef) -> bool {
        if self.settings.is_per_alert {
            return false;
        }
        let first = AlertRef {
            firing: 0,
            ..firing
        };
        let is_earlier = |entry: &QueueEntry| {
            let mut news = entry.delivery.news.iter();
            !entry.is_resolve()
                && !entry.delivery.news.contains(&firing)
                && news.any(|news| news.alert == firing.alert && news.firing < firing.firing)
        };
        self.heard.range(first..firing).next().is_some()
            || self
                .about(firing.alert)
                .iter()
                .any(|seq| self.entries.get(seq).is_some_and(is_earlier))
    }

    /// A resolve of what the sink never heard of: the firing that it waited for was dropped meanwhile.
    pub(super) fn is_needless(&self, seq: u64) -> bool {
        self.get(seq).is_some_and(|entry| {
            let mut news = entry.delivery.news.iter();
            let is_known = |firing: &AlertRef| self.knows(*firing) || self.knows_earlier(*firing);
            entry.is_open() && entry.is_resolve() && !entry.state.is_repeat && !news.any(is_known)
        })
    }

    /// The resolve of a firing that waits already, behind everything else about it, where there is one.
    pub(super) fn waiting_resolve(&self, firing: AlertRef) -> Option<DeliveryId> {
        let about = self.about(firing.alert).into_iter();
        let mut entries = about.filter_map(|seq| self.get(seq));
        let last = entries.rfind(|entry| entry.delivery.news.contains(&firing))?;
        (last.is_open() && last.is_resolve()).then(|| last.delivery.id.clone())
    }

    /// Numbers of everything that waits.
    pub(super) fn seqs(&self) -> Vec<u64> {
        self.entries.keys().copied().collect()
    }
}
