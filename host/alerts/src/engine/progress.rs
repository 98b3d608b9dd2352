//! What is heard back of deliveries: who may have a firing, beyond those whom it was sent to, and who cannot.

use std::sync::Arc;

use super::{AlertEngine, groups::Groups};
use crate::{
    alert::{Alert, Closing, Heard},
    delivery::{DeliveryProgress, DeliveryReport, Precedence, SinkHealth},
    history::Happening,
    identity::{AlertRef, DeliveryId},
    planted::Planted,
};

impl AlertEngine {
    pub(super) fn progressed(&mut self, report: &DeliveryReport) {
        if matches!(
            report.progress,
            DeliveryProgress::Attempted { .. }
                | DeliveryProgress::Failed { .. }
                | DeliveryProgress::Held { .. }
        ) {
            return; // The schedule keeps these, and the next one takes the place of the one before.
        }
        for about in &report.news {
            let Some(alert) = self.alerts.get_mut(&about.alert) else {
                continue;
            };
            alert.note(
                self.now_ms,
                Happening::Delivery {
                    delivery: report.delivery.clone(),
                    sink: report.sink.clone(),
                    progress: report.progress.clone(),
                },
            );
            match &report.progress {
                DeliveryProgress::FellBack { to, delivery, .. }
                    if report.precedence != Precedence::Resolve
                        && !self.bugs.has(Planted::FallbackForgotten) =>
                {
                    fell_back(alert, *about, report, to, delivery, self.now_ms);
                    if let Some(heard) = alert.heard.get(to) {
                        let group = (to.clone(), heard.group_key.clone());
                        self.groups.open(&group, None, heard.route.as_ref());
                        self.groups.add_member(&group, about.alert, self.now_ms);
                    }
                }
                DeliveryProgress::DeadLetter {
                    may_have_arrived: false,
                    ..
                } => {
                    mark_refused(alert, report, true);
                    drop_closing(&mut self.groups, alert, report);
                }
                DeliveryProgress::Delivered { .. } => mark_refused(alert, report, false),
                DeliveryProgress::Requeued { .. } => {
                    mark_refused(alert, report, false);
                    let is_present = alert.is_open() && about.firing == alert.firing;
                    if !is_present && report.precedence != Precedence::Resolve {
                        let heard = heard_by(alert, report, self.now_ms);
                        let (sink, firing) = (report.sink.clone(), about.firing);
                        push_closing(alert, sink, firing, heard, self.now_ms);
                    }
                }
                DeliveryProgress::Cancelled => {
                    if let Some(heard) = alert.heard.get(&report.sink)
                        && heard.delivery == report.delivery
                    {
                        let group = (report.sink.clone(), heard.group_key.clone());
                        alert.left.push(group);
                        alert.heard.remove(&report.sink);
                    }
                    drop_closing(&mut self.groups, alert, report);
                }
                _ => {}
            }
            self.touched.insert(about.alert);
        }
    }

    pub(super) fn sink_changed(&mut self, health: SinkHealth) {
        if self.settings.sinks.contains_key(&health.sink) {
            self.sinks.insert(health.sink.clone(), health);
            self.own_due_ms = Some(self.now_ms);
        }
    }
}

/// The fallback may have the firing from now on: it hears what follows, and that it is over.
fn fell_back(
    alert: &mut Alert,
    about: AlertRef,
    report: &DeliveryReport,
    to: &Arc<str>,
    delivery: &DeliveryId,
    now_ms: u64,
) {
    let mut heard = heard_by(alert, report, now_ms);
    heard.delivery = delivery.clone();
    if alert.is_open() && about.firing == alert.firing {
        alert.heard.entry(to.clone()).or_insert(heard);
    } else {
        push_closing(alert, to.clone(), about.firing, heard, now_ms);
    }
}

/// What the delivery's sink has heard by it.
fn heard_by(alert: &Alert, report: &DeliveryReport, now_ms: u64) -> Heard {
    let known = alert.heard.get(&report.sink);
    Heard {
        route: known.and_then(|heard| heard.route.clone()),
        group_key: report.group_key.clone(),
        group_severity: known.map_or(alert.severity, |heard| heard.group_severity),
        severity: alert.severity,
        acknowledged: alert.acknowledged_by().is_some(),
        at_ms: now_ms,
        delivery: report.delivery.clone(),
        refused: false,
    }
}

fn push_closing(alert: &mut Alert, sink: Arc<str>, firing: u32, heard: Heard, now_ms: u64) {
    let is_known = |one: &Closing| one.sink == sink && one.firing == firing;
    if alert.closings.iter().any(is_known) {
        return;
    }
    alert.closings.push(Closing {
        sink,
        firing,
        route: heard.route,
        group_key: heard.group_key,
        group_severity: heard.group_severity,
        severity: heard.severity,
        delivery: heard.delivery,
        heard_ms: heard.at_ms,
        at_ms: now_ms,
    });
    alert.dirty = true;
}

fn mark_refused(alert: &mut Alert, report: &DeliveryReport, refused: bool) {
    if let Some(heard) = alert.heard.get_mut(&report.sink)
        && heard.delivery == report.delivery
    {
        heard.refused = refused;
    }
}

/// The sink has nothing that could be over.
fn drop_closing(groups: &mut Groups, alert: &mut Alert, report: &DeliveryReport) {
    let id = alert.id;
    let closings = alert.closings.extract_if(.., |one| {
        one.sink == report.sink && one.delivery == report.delivery
    });
    for closing in closings {
        let group = (closing.sink, closing.group_key);
        let firing = closing.firing;
        groups.remove(&group, AlertRef { alert: id, firing });
    }
}
