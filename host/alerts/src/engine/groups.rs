//! Groups: what goes to one sink together, and when.
//!
//! A group is opened by the first alert of a route, sink, name and severity, and closed when each of its alerts is over and was said
//! to be; the next one is another, with another key, so that a sink does not write into the message of an incident long past. A
//! sink without grouping has a group for each firing of each alert.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    alert::News,
    condition::Severity,
    identity::{AlertId, AlertRef},
};

/// What names a group to us: a fallback has the group key of the sink whose place it takes.
pub(super) type GroupId = (Arc<str>, Arc<str>);

/// What an alert must share with those of an open group to join it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JoinKey {
    pub(super) sink: Arc<str>,
    pub(super) route: Option<Arc<str>>,
    pub(super) name: String,
    pub(super) severity: Severity,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) route: Option<Arc<str>>,
    join: Option<JoinKey>,
    /// Alerts that fire and that the sink has heard of here.
    pub(super) members: BTreeSet<AlertId>,
    /// What is to be heard.
    pub(super) pending: BTreeMap<AlertRef, Pending>,
    /// When it was heard of last.
    pub(super) last_ms: Option<u64>,
    due_ms: Option<u64>,
}

/// What waits in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) news: News,
    pub(super) due_ms: u64,
}

/// Every open group.
#[derive(Debug, Default)]
pub(super) struct Groups {
    open: BTreeMap<GroupId, Group>,
    joinable: BTreeMap<JoinKey, Arc<str>>,
    due: BTreeSet<(u64, GroupId)>,
}

impl Groups {
    pub(super) fn get(&self, id: &GroupId) -> Option<&Group> {
        self.open.get(id)
    }

    /// The key of the open group that such an alert joins.
    pub(super) fn joined(&self, join: &JoinKey) -> Option<&Arc<str>> {
        self.joinable.get(join)
    }

    /// Opens it unless it is open.
    pub(super) fn open(&mut self, id: &GroupId, join: Option<JoinKey>, route: Option<&Arc<str>>) {
        if self.open.contains_key(id) {
            return;
        }
        // Of two with the same key the later one is joined: the earlier one only has to end.
        if let Some(join) = &join {
            self.joinable.insert(join.clone(), id.1.clone());
        }
        let group = Group {
            route: route.cloned(),
            join,
            ..Group::default()
        };
        self.open.insert(id.clone(), group);
    }

    pub(super) fn add_member(&mut self, id: &GroupId, alert: AlertId, heard_ms: u64) {
        if let Some(group) = self.open.get_mut(id) {
            group.members.insert(alert);
            group.last_ms = group.last_ms.max(Some(heard_ms));
        }
    }

    /// When each open group was heard of last.
    pub(super) fn heard(&self) -> impl Iterator<Item = (&GroupId, u64)> {
        let heard = |(id, group): (_, &Group)| Some((id, group.last_ms?));
        self.open.iter().filter_map(heard)
    }

    /// The sink has heard of this group before, at this time.
    pub(super) fn note_heard(&mut self, id: &GroupId, heard_ms: u64) {
        if let Some(group) = self.open.get_mut(id) {
            group.last_ms = group.last_ms.max(Some(heard_ms));
        }
    }

    pub(super) fn remove_member(&mut self, id: &GroupId, alert: AlertId) {
        if let Some(group) = self.open.get_mut(id) {
            group.members.remove(&alert);
            self.close_if_over(id);
        }
    }

    pub(super) fn put(&mut self, id: &GroupId, about: AlertRef, pending: Pending) {
        let Some(group) = self.open.get_mut(id) else {
            return;
        };
        let due_ms = pending.due_ms;
        group.pending.insert(about, pending);
        if group.due_ms.is_none_or(|known_ms| due_ms < known_ms) {
            if let Some(known_ms) = group.due_ms.replace(due_ms) {
                self.due.remove(&(known_ms, id.clone()));
            }
            self.due.insert((due_ms, id.clone()));
        }
    }

    pub(super) fn remove(&mut self, id: &GroupId, about: AlertRef) {
        if let Some(group) = self.open.get_mut(id) {
            group.pending.remove(&about);
            self.close_if_over(id);
        }
    }

    /// When the next one is due at the earliest.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// One that is due, with what waits in it, which waits no more.
    pub(super) fn take_due(
        &mut self,
        now_ms: u64,
    ) -> Option<(GroupId, BTreeMap<AlertRef, Pending>)> {
        while let Some((due_ms, id)) = self.due.first().cloned()
            && due_ms <= now_ms
        {
            self.due.pop_first();
            let Some(group) = self.open.get_mut(&id) else {
                continue;
            };
            group.due_ms = None;
            // What had made it due may have been taken back.
            let first_ms = group.pending.values().map(|pending| pending.due_ms).min();
            match first_ms {
                Some(first_ms) if first_ms <= now_ms => {
                    group.last_ms = Some(now_ms);
                    return Some((id, std::mem::take(&mut group.pending)));
                }
                Some(first_ms) => {
                    group.due_ms = Some(first_ms);
                    self.due.insert((first_ms, id));
                }
                None => self.close_if_over(&id),
            }
        }
        None
    }

    pub(super) fn close_if_over(&mut self, id: &GroupId) {
        let is_over = |group: &Group| group.members.is_empty() && group.pending.is_empty();
        if !self.open.get(id).is_some_and(is_over) {
            return;
        }
        let Some(group) = self.open.remove(id) else {
            return;
        };
        if let Some(due_ms) = group.due_ms {
            self.due.remove(&(due_ms, id.clone()));
        }
        if let Some(join) = group.join
            && self.joinable.get(&join) == Some(&id.1)
        {
            self.joinable.remove(&join);
        }
    }
}
