//! Breakers that open together: counted over all of them after every step, where the core keeps counts.

use crate::{
    action::{Change, Transition},
    permit::BreakerState,
    simulation::{property::Property, world::World},
    view::{FleetView, Readiness},
};

/// What the condition is recognised by.
const SAID: &str = "they have one cause";

#[derive(Debug, Default)]
pub(super) struct OneCauseModel {
    holds: bool,
    /// Reasons of the readiness announced in the step in progress, and whether the word stayed.
    announced: Vec<(String, bool)>,
}

impl OneCauseModel {
    pub(super) fn begin_step(&mut self) {
        self.announced.clear();
    }

    pub(super) fn note(&mut self, transition: &Transition) {
        if let Change::Readiness { from, to } = transition.change {
            self.announced.push((transition.reason.clone(), from == to));
        }
    }

    pub(super) fn holds(&self) -> bool {
        self.holds
    }
}

impl World {
    pub(super) fn check_one_cause(&mut self, after: &FleetView) {
        let now_ms = self.now_ms;
        let enforced = after.instances.iter();
        let enforced = enforced.filter(|view| view.wanted && !view.breaker.isolated);
        let (mut all, mut tripped, mut lately) = (0, 0, 0);
        for view in enforced {
            all += 1;
            if view.breaker.state != BreakerState::Closed {
                tripped += 1;
                let at_ms = self.held(&view.id).map(|held| held.breaker.tripped_ms);
                lately += u32::from(at_ms.is_some_and(|at_ms| now_ms - at_ms < 10_000));
            }
        }
        let held = self.watched.one_cause.holds;
        let holds = if held {
            tripped * 2 > all
        } else {
            lately >= 3 && lately * 2 > all
        };
        self.watched.one_cause.holds = holds;
        let shown = after
            .readiness
            .reasons
            .iter()
            .any(|reason| reason.contains(SAID));
        if shown != holds {
            let how = format!(
                "{tripped} of {all} breakers are not CLOSED, {lately} of them tripped lately, before it was {held}: {:?}",
                after.readiness
            );
            return self.fail(Property::OneCause, how);
        }
        let announced = &self.watched.one_cause.announced;
        let is_said = announced.len() == 1 && announced[0].0.contains(SAID) == holds;
        let stays = announced.iter().any(|(_, stays)| *stays);
        if (held != holds && !is_said) || (held == holds && stays) {
            let how = format!("it was {held} and is {holds}, and {announced:?} was announced");
            return self.fail(Property::OneCause, how);
        }
        if holds && !held {
            self.saw("breakers opened together");
            if self.before.readiness.status != Readiness::Healthy {
                self.saw("breakers opened together while degraded");
            }
        }
    }
}
