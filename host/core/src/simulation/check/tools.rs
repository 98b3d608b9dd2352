//! Tool lists: what each run lists is compared with what the one before it listed, also by the router that adopts it.

use std::collections::BTreeSet;

use crate::{
    Run, SlotKey,
    event::Adopted,
    health::{Health, HealthFacts},
    simulation::{property::Property, world::World},
    view::{FleetView, Lifecycle, SlotView},
};

/// So many missing tools are named in a reason.
const NAMED_MAX: usize = 5;

/// What a slot's tools are compared with, and what they lack.
#[derive(Debug, Default)]
pub(super) struct Tools {
    pub(super) baseline: Option<BTreeSet<String>>,
    missing: BTreeSet<String>,
}

impl Tools {
    /// A run became ready with these.
    fn compare(&mut self, tools: &[String]) {
        let tools: BTreeSet<String> = tools.iter().cloned().collect();
        let baseline = self.baseline.take().unwrap_or_default();
        self.missing = baseline.difference(&tools).cloned().collect();
        self.baseline = Some(if self.missing.is_empty() {
            tools
        } else {
            baseline
        });
    }

    /// A survivor of this definition was taken over.
    pub(super) fn adopt(&mut self, adopted: &Adopted) {
        if let Some(kept) = &adopted.baseline {
            self.baseline = Some(kept.iter().cloned().collect());
        }
        if let Some(tools) = &adopted.tools {
            self.compare(tools);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl World {
    pub(super) fn expect_ready(&mut self, key: &SlotKey, run: Run, tools: &[String]) {
        let now_ms = self.now_ms;
        let before = self.slot_before(key).filter(|slot| slot.run == Some(run));
        let starts = before.is_some_and(|slot| slot.lifecycle == Lifecycle::Starting);
        if let Some(slot) = self.watched.slots.get_mut(key).filter(|_| starts) {
            slot.tools.compare(tools);
            (slot.last_used_ms, slot.in_flight) = (now_ms, 0);
        }
    }

    /// The instance says what it lists now: that is right by definition.
    pub(super) fn expect_list(&mut self, key: &SlotKey, run: Run, tools: &[String]) {
        let before = self.slot_before(key).filter(|slot| slot.run == Some(run));
        let serves = before.is_some_and(|slot| slot.lifecycle == Lifecycle::Ready);
        if let Some(slot) = self.watched.slots.get_mut(key).filter(|_| serves) {
            slot.tools.clear();
            slot.tools.compare(tools);
        }
    }

    /// A list is kept with a run.
    pub(super) fn note_kept(&mut self, key: &SlotKey, run: Run, tools: &[String]) {
        self.watched.kept.insert((key.clone(), run), tools.to_vec());
    }

    /// A policy is asked with what is missing.
    pub(super) fn check_facts(&mut self, key: &SlotKey, facts: &HealthFacts) {
        let adopting = self
            .watched
            .adopting
            .as_ref()
            .is_some_and(|(at, _)| at == key);
        let slot = self.watched.slots.get(key).filter(|_| !adopting);
        if slot.is_some_and(|slot| !slot.tools.missing.iter().eq(&facts.tools_missing)) {
            let stated = &facts.tools_missing;
            self.fail(
                Property::ToolsCompared,
                format!("a policy is asked about {key}, which lacks {stated:?}"),
            );
        }
    }

    pub(super) fn check_tools(&mut self, after: &FleetView) {
        let slots = after.instances.iter().flat_map(|view| &view.slots);
        for view in slots.filter(|slot| slot.lifecycle == Lifecycle::Ready) {
            self.check_list(view);
        }
    }

    fn check_list(&mut self, view: &SlotView) {
        let (Some(run), key) = (view.run, &view.key) else {
            return;
        };
        let before = self.slot_before(key);
        let was_ready =
            before.is_some_and(|slot| slot.run == Some(run) && slot.lifecycle == Lifecycle::Ready);
        let Some(slot) = self.watched.slots.get(key) else {
            return;
        };
        let tools = &slot.tools;
        let is_degraded = view.health >= Some(Health::Degraded);
        let text = "tools are missing";
        let names = |name: &String| view.reason.contains(name.as_str());
        let is_stated = if tools.missing.is_empty() {
            !view.reason.contains(text)
        } else {
            is_degraded
                && view.reason.contains(text)
                && tools.missing.iter().take(NAMED_MAX).all(names)
        };
        // Once it serves, a policy may think otherwise.
        let is_true = tools.missing.iter().eq(&view.tools_missing) && (was_ready || is_stated);
        let at = (key.clone(), run);
        let kept = self.watched.kept.get(&at);
        let is_kept = kept
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .eq(tools.baseline.iter().flatten());
        let missing = !tools.missing.is_empty();
        let adopting = self.watched.adopting.as_ref() == Some(&at);
        if !is_true {
            self.fail(
                Property::ToolsCompared,
                format!("{key} lists {tools:?} and is {view:?}"),
            );
        } else if !is_kept {
            self.fail(
                Property::BaselineKept,
                format!("{key} run {run} is compared by {tools:?}; kept is {kept:?}"),
            );
        } else if missing && adopting {
            self.saw("adopted with tools missing");
        } else if missing && !was_ready {
            self.saw("tools missing");
        }
    }
}
