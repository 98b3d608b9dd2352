//! Taking over a run of an earlier router, and ending what lives beside the slot's own run.

use super::{Phase, Process, RESTARTED, STRAYS_MAX, Slot, StartBy, Stray, reports::sorted};
use crate::{
    action::SlotAction,
    event::Adopted,
    id::Run,
    planted::Planted,
    step::{DesiredState, Step},
    time::Since,
};

impl Slot {
    pub(crate) fn adopt(
        &mut self,
        step: &mut Step<'_>,
        desired: DesiredState<'_>,
        adopted: Adopted,
    ) {
        let run = adopted.run;
        step.counters.skip_past(run);
        match self.process() {
            Some(process) if process.run == run => return,
            Some(_) => return self.stray(step, run),
            None if self.last_ended == Some(run) => return,
            // Of several survivors the newest is kept; that it has ended meanwhile says nothing about an older one.
            None if self.last_ended > Some(run) => return self.stray(step, run),
            None => {}
        }
        // That it was being stopped (perhaps only to be started again) says nothing about what is wanted now.
        self.wanted |= adopted.wanted;
        if step.bugs.has(Planted::AdoptionForgetsIntent) {
            self.wanted = adopted.wanted;
        }
        self.is_rerun = true;
        self.used(step.now_ms);
        let kept = adopted.baseline.map(sorted);
        // What another definition's runs listed says nothing about the present one's.
        if kept.is_some() && adopted.digest == self.digest {
            self.baseline.clone_from(&kept);
        }
        let mut process = Process {
            run,
            pid: Some(adopted.pid),
            digest: adopted.digest,
            spawned: Since::ago(step.now_ms, adopted.age_ms),
            ready: None,
            memory_bytes: None,
            kept,
        };
        self.set_reason("adopted from an earlier router".to_owned(), None);
        match adopted.tools {
            Some(tools) => self.become_ready(step, desired, process, tools, adopted.age_ms),
            None => {
                process.keep_baseline(step, &self.key, self.baseline.as_deref());
                let by_ms = step.now_ms.saturating_add(desired.spec.spawn_timeout_ms);
                self.phase = Phase::Starting(process, StartBy(by_ms));
            }
        }
        let reason = if std::mem::take(&mut self.restarts_survivor) {
            RESTARTED
        } else if adopted.wanted {
            return;
        } else {
            "the earlier router was stopping it"
        };
        self.stop(step, desired, None, reason.to_owned());
    }

    /// Notes a run that lives beside the slot's own: it is killed, and nothing starts until it is gone.
    pub(super) fn stray(&mut self, step: &mut Step<'_>, run: Run) {
        let known = self.strays.iter().any(|stray| stray.run == run);
        if !known && self.strays.len() < STRAYS_MAX {
            let kill_again_ms = step.now_ms;
            self.strays.push(Stray { run, kill_again_ms });
        } else if !known {
            step.push_for(&self.key, run, SlotAction::Kill);
        }
    }
}
