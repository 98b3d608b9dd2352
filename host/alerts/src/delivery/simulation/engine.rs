//! What orders deliveries in the simulation: alerts that fire, and a memory of who may have got what.

use std::{collections::BTreeMap, sync::Arc};

use router_core::jitter::Jitter;

use crate::{
    AlertId, AlertRef, Condition, DeliveryId, Severity,
    delivery::{Delivery, DeliveryOrder, DeliveryProgress, DeliveryReport, Precedence},
    identity::dedup_key,
    notice::{NoticeAlert, Occasion},
};

/// Alerts of one simulation: few, so that much happens to each.
const ALERTS: usize = 6;

#[derive(Debug, Clone)]
pub(super) struct Alert {
    key: String,
    pub(super) severity: Severity,
    pub(super) firing: u32,
    pub(super) is_active: bool,
    is_acknowledged: bool,
    step: u32,
    route: Vec<Arc<str>>,
    /// Who may have got which firing, and under which group key.
    sent: BTreeMap<(u32, Arc<str>), Arc<str>>,
}

#[derive(Debug, Clone)]
pub(super) struct Engine {
    pub(super) alerts: Vec<Alert>,
}

/// Sinks that get one delivery per alert.
pub(super) fn is_per_alert(sink: &str) -> bool {
    matches!(sink, "a" | "d")
}

impl Engine {
    pub(super) fn new(dice: &mut Jitter) -> Self {
        let alert = |number: usize| {
            let severity = Severity::ALL[dice.next() as usize % 4];
            let bits = dice.next();
            let sinks = ["a", "b", "c", "d"].into_iter().enumerate();
            let chosen = sinks.filter(|(at, _)| bits >> at & 1 == 1);
            Alert {
                key: format!("k{number}"),
                severity,
                firing: 0,
                is_active: false,
                is_acknowledged: false,
                step: 0,
                route: chosen.map(|(_, sink)| sink.into()).collect(),
                sent: BTreeMap::new(),
            }
        };
        Self {
            alerts: (0..ALERTS).map(alert).collect(),
        }
    }

    /// Something happens. What it orders.
    pub(super) fn act(&mut self, now_ms: u64, dice: &mut Jitter) -> Vec<DeliveryOrder> {
        let at = dice.next() as usize % ALERTS;
        let alert = &mut self.alerts[at];
        match dice.next() % 10 {
            0..=3 if !alert.is_active => self.fire(now_ms, at, dice),
            0..=1 if alert.is_active => self.resolve(now_ms, at),
            2..=3 if !alert.is_acknowledged => {
                alert.step += 1;
                let sent: Vec<Arc<str>> = alert.current_sinks();
                let of =
                    |sink| alert.delivery(now_ms, sink, Occasion::Reminder, Precedence::Reminder);
                sent.into_iter().map(of).map(deliver).collect()
            }
            4..=5 if alert.is_active => {
                alert.step += 1;
                let sink: Arc<str> = ["a", "b", "c", "d"][dice.next() as usize % 4].into();
                alert
                    .first(now_ms, sink, Occasion::Escalated)
                    .into_iter()
                    .map(deliver)
                    .collect()
            }
            6 if alert.is_active && !alert.is_acknowledged => {
                alert.is_acknowledged = true;
                alert.step += 1;
                let firing = alert.current();
                let occasion = Occasion::Acknowledged("somebody".to_owned());
                let of = |sink| alert.delivery(now_ms, sink, occasion.clone(), Precedence::Update);
                let updates = alert.current_sinks().into_iter().map(of).map(deliver);
                [DeliveryOrder::CancelUnattempted(firing)]
                    .into_iter()
                    .chain(updates)
                    .collect()
            }
            7 if alert.is_active && alert.severity != Severity::P1 => {
                alert.step += 1;
                let before = alert.severity;
                alert.severity = Severity::P1;
                if alert.is_acknowledged {
                    return self.fire(now_ms, at, dice);
                }
                let occasion = Occasion::SeverityChanged(before);
                let of = |sink| alert.delivery(now_ms, sink, occasion.clone(), Precedence::Update);
                alert
                    .current_sinks()
                    .into_iter()
                    .map(of)
                    .map(deliver)
                    .collect()
            }
            8 => {
                alert.step += 1;
                let sink: Arc<str> = ["a", "b", "c", "d"][dice.next() as usize % 4].into();
                let alert_step = alert.step;
                let mut test = alert.delivery(now_ms, sink, Occasion::Test, Precedence::Update);
                let alert = AlertId::of(&format!("test-{at}"));
                test.news = vec![AlertRef {
                    alert,
                    firing: alert_step,
                }];
                test.id = DeliveryId::new(test.news[0], alert_step, &test.sink);
                test.group_key = format!("test-{at}").into();
                vec![deliver(test)]
            }
            _ => Vec::new(),
        }
    }

    /// Several of one severity fire in one step: sinks with groups hear of all of them at once.
    fn fire(&mut self, now_ms: u64, at: usize, dice: &mut Jitter) -> Vec<DeliveryOrder> {
        let severity = self.alerts[at].severity;
        let mut firing = vec![at];
        let others = (0..ALERTS).filter(|other| *other != at);
        firing.extend(others.filter(|other| {
            let other = &self.alerts[*other];
            !other.is_active && other.severity == severity && dice.next().is_multiple_of(3)
        }));
        let mut grouped: BTreeMap<(Arc<str>, Arc<str>), Delivery> = BTreeMap::new();
        let mut orders = Vec::new();
        for at in firing {
            let alert = &mut self.alerts[at];
            alert.firing += 1;
            alert.step += 1;
            alert.is_active = true;
            alert.is_acknowledged = false;
            for sink in alert.route.clone() {
                let occasion = Occasion::Firing;
                let Some(mut delivery) = alert.first(now_ms, sink, occasion) else {
                    continue;
                };
                if severity >= Severity::P3 {
                    delivery.not_before_ms = now_ms + 10_000;
                }
                if is_per_alert(&delivery.sink) {
                    orders.push(deliver(delivery));
                    continue;
                }
                let key = (Arc::clone(&delivery.sink), Arc::clone(&delivery.group_key));
                match grouped.get_mut(&key) {
                    Some(group) => {
                        group.news.extend(delivery.news);
                        group.listed.extend(delivery.listed);
                    }
                    None => {
                        grouped.insert(key, delivery);
                    }
                }
            }
        }
        orders.extend(grouped.into_values().map(deliver));
        orders
    }

    /// It is over: everybody who may have got any of its firings hears of it.
    pub(super) fn resolve(&mut self, now_ms: u64, at: usize) -> Vec<DeliveryOrder> {
        let alert = &mut self.alerts[at];
        if !alert.is_active {
            return Vec::new();
        }
        alert.is_active = false;
        alert.step += 1;
        let sent = std::mem::take(&mut alert.sent);
        let of = |((firing, sink), group_key): ((u32, Arc<str>), Arc<str>)| {
            let mut delivery =
                alert.delivery(now_ms, sink, Occasion::Resolved, Precedence::Resolve);
            let news = AlertRef {
                firing,
                ..alert.current()
            };
            delivery.id = DeliveryId::new(news, alert.step, &delivery.sink);
            delivery.news = vec![news];
            delivery.group_key = group_key;
            delivery.listed[0].resolved_ms = Some(now_ms);
            deliver(delivery)
        };
        sent.into_iter().map(of).collect()
    }

    /// A fallback may have the firing as well.
    pub(super) fn hear(&mut self, report: &DeliveryReport) {
        let DeliveryProgress::FellBack { to, .. } = &report.progress else {
            return;
        };
        for news in &report.news {
            for alert in &mut self.alerts {
                let is_it = AlertId::of(&alert.key) == news.alert && alert.is_active;
                if is_it {
                    let key = (news.firing, Arc::clone(to));
                    let group_key = Arc::clone(&report.group_key);
                    alert.sent.entry(key).or_insert(group_key);
                }
            }
        }
    }
}

impl Alert {
    fn current(&self) -> AlertRef {
        AlertRef {
            alert: AlertId::of(&self.key),
            firing: self.firing,
        }
    }

    /// Sinks that were sent the present firing, unless it is over.
    fn current_sinks(&self) -> Vec<Arc<str>> {
        let is_current = |((firing, _), _): &(&(u32, Arc<str>), &Arc<str>)| *firing == self.firing;
        let sent = self.sent.iter().filter(is_current);
        sent.map(|((_, sink), _)| Arc::clone(sink)).collect()
    }

    /// A first firing, unless the sink was sent it already.
    fn first(&mut self, now_ms: u64, sink: Arc<str>, occasion: Occasion) -> Option<Delivery> {
        let key = (self.firing, Arc::clone(&sink));
        if self.sent.contains_key(&key) {
            return None;
        }
        let delivery = self.delivery(now_ms, sink, occasion, Precedence::FirstFiring);
        self.sent.insert(key, Arc::clone(&delivery.group_key));
        Some(delivery)
    }

    fn delivery(
        &self,
        now_ms: u64,
        sink: Arc<str>,
        occasion: Occasion,
        precedence: Precedence,
    ) -> Delivery {
        let news = self.current();
        let known = self.sent.get(&(self.firing, Arc::clone(&sink)));
        let group_key = known.map(Arc::clone).unwrap_or_else(|| {
            if is_per_alert(&sink) {
                dedup_key(&self.key, self.firing).into()
            } else {
                format!("group-{}", self.severity).into()
            }
        });
        let condition = Condition {
            key: self.key.clone(),
            name: "name".to_owned(),
            severity: self.severity,
            summary: format!("firing {} step {}", self.firing, self.step),
            remedy: String::new(),
            runbook_anchor: None,
            instance: None,
            for_ms: 0,
            attributes: Vec::new(),
        };
        Delivery {
            id: DeliveryId::new(news, self.step, &sink),
            sink,
            route: Some("route".into()),
            group_key,
            occasion,
            precedence,
            severity: self.severity,
            news: vec![news],
            listed: vec![NoticeAlert {
                condition: Arc::new(condition),
                since_ms: now_ms,
                resolved_ms: None,
                acknowledged_by: None,
                attributes: Vec::new(),
            }],
            more: 0,
            changes: Vec::new(),
            decided_ms: now_ms,
            not_before_ms: now_ms,
        }
    }
}

fn deliver(delivery: Delivery) -> DeliveryOrder {
    DeliveryOrder::Deliver(Arc::new(delivery))
}
