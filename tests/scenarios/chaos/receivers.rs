//! The receivers of a series of rounds: a PagerDuty, and two of Standard Webhooks. For its next requests each can be made to fail.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use parking_lot::Mutex;
use router_tests::receivers::{Authority, PagerDuty, Received, Receiver, Reply, Service, Stage};
use serde_json::Value;

use super::{
    ledger::{Firing, Ledger, News, Taken},
    trigger::Trigger,
};

pub(crate) const ROUTING_KEY: &str = "0123456789abcdef0123456789abcdef";

/// How a receiver fails once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// 429, and how long to wait.
    Busy,
    /// 500.
    Broken,
    /// No answer, and the connection stays.
    Hang,
    /// The connection is reset.
    Reset,
    /// Somebody else answers in its place, with a certificate of another authority.
    Impostor,
}

/// See the module.
pub(crate) struct Target {
    sink: &'static str,
    /// `None`: it is one of Standard Webhooks.
    pagerduty: Option<Arc<PagerDuty>>,
    ledger: Arc<Ledger>,
    trigger: Arc<Trigger>,
    mishaps: Mutex<VecDeque<Mishap>>,
}

impl Target {
    pub(crate) async fn start(
        sink: &'static str,
        authority: &Authority,
        ledger: &Arc<Ledger>,
        trigger: &Arc<Trigger>,
    ) -> (Arc<Self>, Receiver) {
        let target = Arc::new(Self {
            sink,
            pagerduty: (sink == "pager").then(|| PagerDuty::with_keys(&[ROUTING_KEY])),
            ledger: Arc::clone(ledger),
            trigger: Arc::clone(trigger),
            mishaps: Mutex::default(),
        });
        let receiver = Receiver::start(authority, Arc::clone(&target)).await;
        (target, receiver)
    }

    pub(crate) fn fails_next(&self, mishap: Mishap) {
        self.mishaps.lock().push_back(mishap);
    }

    pub(crate) fn is_well(&self) {
        self.mishaps.lock().clear();
    }

    /// What the request tells, and by what it is known again; `Ok(None)`: it is of no firing of ours.
    fn news(&self, request: &Received) -> Result<Option<(Firing, News, String)>, String> {
        let event = request.json();
        if self.pagerduty.is_some() {
            let id = text(&event["dedup_key"])?;
            let (key, number) = id.rsplit_once('#').ok_or("its key has no number")?;
            let news = match text(&event["event_action"])?.as_str() {
                // It is opened and closed by one delivery.
                "trigger" if event["payload"]["custom_details"]["why"] == "resolved" => {
                    News::FiredAndOver
                }
                "trigger" => News::Fires,
                "resolve" => News::Over,
                _ => return Ok(None),
            };
            let number = number.parse().map_err(|_| "its key has no number")?;
            return Ok(Some(((key.to_owned(), number), news, id.clone())));
        }
        let data = &event["data"];
        let news = match text(&event["type"])?.as_str() {
            "alert.firing" => News::Fires,
            "alert.resolved" if data["fired_and_resolved"] == true => News::FiredAndOver,
            "alert.resolved" => News::Over,
            other => return Err(format!("{other} is not expected")),
        };
        let alert = &data["alerts"][0];
        let number = text(&alert["attributes"]["firing"])?;
        let number = number.parse().map_err(|_| "its firing has no number")?;
        let id = request.headers.get("webhook-id").ok_or("it has no id")?;
        Ok(Some(((text(&alert["key"])?, number), news, id.clone())))
    }
}

fn text(value: &Value) -> Result<String, String> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| format!("{value} is no text"))
}

impl Service for Target {
    fn reply(&self, request: &Received) -> Reply {
        match self.mishaps.lock().pop_front() {
            Some(Mishap::Busy) => return Reply::too_many(1),
            Some(Mishap::Broken) => return Reply::text(500, "it is broken"),
            Some(Mishap::Hang) => return Reply::Hang,
            Some(Mishap::Reset) => return Reply::Reset,
            Some(Mishap::Impostor) | None => {}
        }
        let reply = match &self.pagerduty {
            Some(pagerduty) => pagerduty.reply(request),
            None => Reply::text(204, ""),
        };
        let taken = match (&reply, self.news(request)) {
            (Reply::Answer(200..300, _, _), news) => news,
            (other, _) => Err(format!("it is answered {other:?}")),
        };
        match taken {
            Ok(Some((firing, news, id))) => self.ledger.take(Taken {
                sink: self.sink,
                firing,
                news,
                id,
                at: Instant::now(),
            }),
            Ok(None) => {}
            Err(fault) => {
                let fault = format!("{}: {fault}: {}", self.sink, request.body);
                self.ledger.refuse(fault);
            }
        }
        reply
    }

    fn reached(&self, stage: Stage) {
        self.trigger.reached(stage);
    }

    fn is_genuine(&self) -> bool {
        let mut mishaps = self.mishaps.lock();
        if mishaps.front() != Some(&Mishap::Impostor) {
            return true;
        }
        mishaps.pop_front();
        false
    }
}
