//! The outbound heartbeat: a URL that is called every minute while the auditor finds nothing, for a service that says when it was not.
//! That it ended is the one alert that the router cannot deliver itself.
//!
//! Each audit is a reason to call once, now; what could not be delivered is not delivered later, or the service would take it for another
//! minute in which all was well. The URL is a secret: who has it can say that all is well.

use std::time::Duration;

use router_egress::{Egress, EgressError, EgressOptions, EgressRequest};
use router_telemetry::Count;
use router_values::{Origin, Secret};
use tokio::{sync::watch, time::Instant};

/// How long one call may take: an answer that takes longer than that helps nobody who waits for one each minute.
const CALL_WITHIN: Duration = Duration::from_secs(10);

/// The name under which the URL is a secret of its egress.
const URL: &str = "heartbeat_url";

/// Why it may not be called, where its name leads to a neighbour.
const NOT_PUBLIC: &str = "its host leads to an address that is not public: write the address itself, or a name that can only be your network's \
                          own (without a dot, .internal, .local)";

/// `alerts.heartbeat_url`, and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HeartbeatUrl {
    pub(crate) url: Secret,
    pub(crate) origin: Origin,
}

/// What the auditor found last.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AuditResult {
    /// How much is not as it should be.
    pub(crate) findings: usize,
}

/// See the module.
pub(crate) struct Heartbeat {
    /// One value for each audit.
    pub(crate) audits: watch::Receiver<AuditResult>,
    /// Where to; `None`: nowhere.
    pub(crate) url: watch::Receiver<Option<HeartbeatUrl>>,
    /// Counts how each went.
    pub(crate) count: Box<dyn Fn(Count) + Send + Sync>,
}

/// How it went, as it was logged last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pulse {
    Delivered,
    Failed,
    Withheld,
}

impl Heartbeat {
    /// Calls until the alerts' loop has ended.
    pub(crate) async fn run(mut self) {
        let mut pulse = None;
        loop {
            // An audit that ends while a call is under way is the next one's reason; more than one are one.
            if self.audits.changed().await.is_err() {
                return;
            }
            let findings = self.audits.borrow_and_update().findings;
            let Some(url) = self.url.borrow_and_update().clone() else {
                pulse = None;
                continue;
            };
            let (now, reason) = if findings > 0 {
                (
                    Pulse::Withheld,
                    format!("the audit found {findings} irregularities"),
                )
            } else {
                match call(url).await {
                    Ok(()) => (Pulse::Delivered, String::new()),
                    Err(reason) => (Pulse::Failed, reason),
                }
            };
            self.note(now, pulse.replace(now), &reason);
        }
    }

    /// Counts each, and logs what is other than before.
    fn note(&self, now: Pulse, before: Option<Pulse>, reason: &str) {
        (self.count)(match now {
            Pulse::Delivered => Count::HeartbeatDelivered,
            Pulse::Failed => Count::HeartbeatFailed,
            Pulse::Withheld => Count::HeartbeatWithheld,
        });
        if before == Some(now) {
            return;
        }
        match now {
            Pulse::Delivered => tracing::info!("heartbeat delivered"),
            Pulse::Failed => tracing::error!(reason, "heartbeat not delivered"),
            Pulse::Withheld => tracing::error!(reason, "heartbeat withheld"),
        }
    }
}

/// Calls once, by the rules of sinks: the one origin that is written down, addresses checked, no redirects, sizes and time bounded.
async fn call(HeartbeatUrl { url, origin }: HeartbeatUrl) -> Result<(), String> {
    let options = EgressOptions {
        allow: vec![origin],
        secrets: [(URL.to_owned(), url)].into(),
        ..EgressOptions::default()
    };
    // It reads the machine's certificate authorities, which may have changed since the minute before.
    let opened = tokio::task::spawn_blocking(|| Egress::open(options)).await;
    let opened = opened.map_err(|error| error.to_string())?;
    let egress = opened.map_err(|error| error.to_string())?;
    let mut call = egress.begin(Instant::now() + CALL_WITHIN);
    let url = call.placeholder(URL).map_err(|error| error.to_string())?;
    let request = EgressRequest {
        method: "GET".to_owned(),
        url,
        headers: vec![("user-agent".to_owned(), "godot-mcp-router".to_owned())],
        body: Vec::new(),
    };
    let response = call.send(request).await.map_err(|error| match error {
        // A sink would be advised to allow the address, and there is nothing to do so for this one.
        EgressError::Denied(_) => NOT_PUBLIC.to_owned(),
        error => error.to_string(),
    })?;
    match response.status {
        200..300 => Ok(()),
        status => Err(format!("it was answered with status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use router_telemetry::Count;
    use router_values::{Origin, Secret};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        sync::{mpsc, watch},
        time::{Duration, timeout},
    };

    use super::{AuditResult, Heartbeat, HeartbeatUrl};

    const PATH: &str = "/ping/a-secret-path";
    const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";

    struct Bench {
        audits: watch::Sender<AuditResult>,
        url: watch::Sender<Option<HeartbeatUrl>>,
        calls: mpsc::UnboundedReceiver<String>,
        /// With what the next calls are answered.
        answers: mpsc::UnboundedSender<&'static str>,
        counts: mpsc::UnboundedReceiver<Count>,
    }

    impl Bench {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let origin = format!("http://{}", listener.local_addr().unwrap());
            let (answers, mut next) = mpsc::unbounded_channel::<&str>();
            let (called, calls) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let mut head = vec![0; 4_096];
                    let read = stream.read(&mut head).await.unwrap();
                    let head = String::from_utf8_lossy(&head[..read]).into_owned();
                    called.send(head).unwrap();
                    // Nobody is answered before there is something to answer with.
                    let Some(answer) = next.recv().await else {
                        return;
                    };
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
            let (audits, heard) = watch::channel(AuditResult::default());
            let (url, in_force) = watch::channel(Some(HeartbeatUrl {
                url: Secret::new(format!("{origin}{PATH}")),
                origin: Origin::parse_http(&origin).unwrap(),
            }));
            let (counted, counts) = mpsc::unbounded_channel();
            let heartbeat = Heartbeat {
                audits: heard,
                url: in_force,
                count: Box::new(move |what| counted.send(what).unwrap()),
            };
            tokio::spawn(heartbeat.run());
            Self {
                audits,
                url,
                calls,
                answers,
                counts,
            }
        }

        fn audited(&self, findings: usize) {
            self.audits.send_replace(AuditResult { findings });
        }

        async fn called(&mut self) -> String {
            let called = timeout(Duration::from_secs(30), self.calls.recv()).await;
            called.expect("a call in time").unwrap()
        }

        async fn counted(&mut self) -> Count {
            let counted = timeout(Duration::from_secs(30), self.counts.recv()).await;
            counted.expect("a count in time").unwrap()
        }
    }

    #[tokio::test]
    async fn each_audit_that_finds_nothing_calls_once_and_none_that_finds_something() {
        let mut bench = Bench::start().await;
        bench.answers.send(FINE).unwrap();
        bench.audited(0);
        let head = bench.called().await;
        let first = format!("GET {PATH} HTTP/1.1\r\n");
        assert!(head.starts_with(&first), "{head}");
        assert_eq!(bench.counted().await, Count::HeartbeatDelivered);
        bench.audited(2);
        assert_eq!(bench.counted().await, Count::HeartbeatWithheld);
        // A redirect leads nowhere, and what failed is not delivered later.
        for answer in [
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
            "",
        ] {
            bench.answers.send(answer).unwrap();
            bench.audited(0);
            bench.called().await;
            assert_eq!(bench.counted().await, Count::HeartbeatFailed);
        }
        // Nowhere to call.
        let url = bench.url.send_replace(None);
        bench.audited(0);
        tokio::task::yield_now().await;
        bench.url.send_replace(url);
        bench.answers.send(FINE).unwrap();
        bench.audited(0);
        bench.called().await;
        assert_eq!(bench.counted().await, Count::HeartbeatDelivered);
        assert!(bench.calls.try_recv().is_err() && bench.counts.try_recv().is_err());
    }

    #[tokio::test]
    async fn why_nothing_was_delivered_holds_nothing_of_the_secret() {
        let url = |host: &str| HeartbeatUrl {
            url: Secret::new(format!("https://{host}:1{PATH}")),
            origin: Origin::parse_http(&format!("https://{host}:1")).unwrap(),
        };
        // Nobody listens, and nobody has the name.
        for host in ["127.0.0.1", "nobody.invalid"] {
            let reason = super::call(url(host)).await.unwrap_err();
            let is_silent = !reason.contains("a-secret-path");
            assert!(is_silent && !reason.is_empty(), "{reason}");
        }
    }

    #[tokio::test]
    async fn audits_during_a_call_are_one_reason_to_call() {
        let mut bench = Bench::start().await;
        bench.audited(0);
        bench.called().await;
        for _ in 0..5 {
            bench.audited(0);
        }
        bench.answers.send(FINE).unwrap();
        assert_eq!(bench.counted().await, Count::HeartbeatDelivered);
        bench.called().await;
        bench.answers.send(FINE).unwrap();
        assert_eq!(bench.counted().await, Count::HeartbeatDelivered);
        // One that finds something is what counts of those that came meanwhile.
        bench.audited(0);
        bench.called().await;
        bench.audited(0);
        bench.audited(1);
        bench.answers.send(FINE).unwrap();
        assert_eq!(bench.counted().await, Count::HeartbeatDelivered);
        assert_eq!(bench.counted().await, Count::HeartbeatWithheld);
        assert!(bench.calls.try_recv().is_err());
    }
}
