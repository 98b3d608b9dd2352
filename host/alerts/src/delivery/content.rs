//! What deliveries that were never attempted may still become: more than one in one, without what is over, resolved beforehand.
//! From the first attempt on a delivery says the same for ever.

use std::sync::Arc;

use super::{Delivery, Precedence};
use crate::{
    AlertId, AlertRef,
    identity::{DeliveryId, dedup_key},
    notice::{LISTED_MAX, NoticeAlert, Occasion},
};

impl Delivery {
    /// It speaks of alerts that fire, so that later news of the same group can take it in.
    pub(super) fn is_alarm(&self) -> bool {
        matches!(
            self.occasion,
            Occasion::Firing
                | Occasion::MoreFiring
                | Occasion::Escalated
                | Occasion::Reminder
                | Occasion::SeverityChanged(_)
        )
    }

    /// It goes to the fallback where its sink does not take it. A resolve goes where its firing went, and a test is of one sink.
    pub(super) fn falls_back(&self) -> bool {
        let is_test = self.occasion == Occasion::Test;
        !is_test
            && matches!(
                self.precedence,
                Precedence::FirstFiring | Precedence::Reminder
            )
    }

    /// Takes in one that waited before it, about the same group, and that nobody has seen.
    pub(super) fn take_in(&mut self, earlier: &Self) {
        self.news.extend(earlier.news.iter().copied());
        dedup(&mut self.news);
        if urgency(&earlier.occasion) < urgency(&self.occasion) {
            self.occasion = earlier.occasion.clone();
        }
        self.precedence = self.precedence.min(earlier.precedence);
        self.severity = self.severity.min(earlier.severity);
        self.not_before_ms = self.not_before_ms.min(earlier.not_before_ms);
        let known: Vec<AlertId> = self.listed.iter().map(alert_id).collect();
        let missing = |alert: &&NoticeAlert| !known.contains(&alert_id(alert));
        let missing: Vec<NoticeAlert> = earlier.listed.iter().filter(missing).cloned().collect();
        self.listed.extend(missing);
        let news = &self.news;
        // What is news stands first, and in each half the most severe.
        self.listed.sort_by_key(|alert| {
            let is_news = news.iter().any(|news| news.alert == alert_id(alert));
            (!is_news, alert.condition.severity)
        });
        let cut = self.listed.len().saturating_sub(LISTED_MAX);
        self.listed.truncate(LISTED_MAX);
        self.more = self
            .more
            .saturating_add(u32::try_from(cut).unwrap_or(u32::MAX));
    }

    /// It says nothing more of this firing, nor of that an earlier one of the alert is over.
    pub(super) fn leave_out(&mut self, firing: AlertRef) {
        let is_other = |news: &AlertRef| news.alert != firing.alert || news.firing > firing.firing;
        self.news.retain(is_other);
        let is_news = self.news.iter().any(|news| news.alert == firing.alert);
        self.listed
            .retain(|alert| is_news || alert_id(alert) != firing.alert);
    }

    /// It says that this alert is over already.
    pub(super) fn mark_resolved(&mut self, alert: AlertId, at_ms: u64) {
        let listed = self.listed.iter_mut().filter(|one| alert_id(one) == alert);
        for listed in listed {
            listed.resolved_ms.get_or_insert(at_ms);
        }
    }

    /// When it says that the alert ended.
    pub(super) fn resolved_ms(&self, alert: AlertId) -> u64 {
        let listed = self.listed.iter().find(|one| alert_id(one) == alert);
        listed
            .and_then(|one| one.resolved_ms)
            .unwrap_or(self.decided_ms)
    }

    /// The same for another sink, as far as it is about these firings. A sink that gets one delivery per alert gets one for each
    /// that is listed, under its own dedup key.
    pub(super) fn copies(
        &self,
        sink: &Arc<str>,
        is_per_alert: bool,
        news: &[AlertRef],
    ) -> Vec<Self> {
        let mut whole = self.clone();
        whole.sink = Arc::clone(sink);
        whole.route = None;
        // Another id than that of what the same step says to that sink itself, which may say more or less.
        let way = format!("{sink} for {}", self.id);
        whole.id = self.id.for_sink(&way);
        whole.news.retain(|one| news.contains(one));
        if !is_per_alert || self.news.len() == 1 {
            return if whole.news.is_empty() {
                Vec::new()
            } else {
                vec![whole]
            };
        }
        let single = |firing: &AlertRef| {
            let listed = whole
                .listed
                .iter()
                .find(|one| alert_id(one) == firing.alert)?;
            Some(Self {
                id: self.id.for_firing(*firing, &way),
                group_key: dedup_key(&listed.condition.key, firing.firing).into(),
                news: vec![*firing],
                listed: vec![listed.clone()],
                more: 0,
                ..whole.clone()
            })
        };
        whole.news.iter().filter_map(single).collect()
    }

    /// Only so much of it.
    pub(super) fn about(&self, id: DeliveryId, news: Vec<AlertRef>) -> Self {
        Self {
            id,
            news,
            ..self.clone()
        }
    }
}

fn alert_id(alert: &NoticeAlert) -> AlertId {
    AlertId::of(&alert.condition.key)
}

fn dedup(news: &mut Vec<AlertRef>) {
    let mut seen = std::collections::BTreeSet::new();
    news.retain(|one| seen.insert(*one));
}

/// Of two occasions in one delivery the one that is said: the least.
fn urgency(occasion: &Occasion) -> u8 {
    match occasion {
        Occasion::Firing => 0,
        Occasion::Escalated => 1,
        Occasion::SeverityChanged(_) => 2,
        Occasion::MoreFiring => 3,
        _ => 4,
    }
}
