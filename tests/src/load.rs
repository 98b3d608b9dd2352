//! Load: many clients, each with a session and a connection of its own, that call one tool as fast as they are answered, and check
//! that each answer is the one to their own question.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{mcp, wire::Wire};

/// Failures that are kept as text. The first few explain the rest.
const FAILURES_KEPT: usize = 10;

/// Before a client connects again to somebody who does not listen.
const CONNECT_PAUSE: Duration = Duration::from_millis(20);

/// A request that was answered as it should be.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// When it was sent.
    pub begun: Instant,
    /// How long the answer took, in microseconds.
    pub took_us: u32,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Requests that were answered as they should be.
    pub answered: u64,
    /// Requests that were not.
    pub failed: u64,
    /// What the first failures were.
    pub failures: Vec<String>,
    /// Each answered request, where they are timed.
    pub requests: Vec<Answered>,
    /// For how long.
    pub elapsed: Duration,
}

impl Tally {
    /// The latency that this share of the requests that began within this time stayed below, in microseconds. Zero without
    /// requests.
    #[must_use]
    pub fn percentile_us(&self, share: f64, time: &Range<Instant>) -> u32 {
        let within = |one: &&Answered| time.contains(&one.begun);
        let requests = self.requests.iter().filter(within);
        let mut sorted: Vec<u32> = requests.map(|one| one.took_us).collect();
        sorted.sort_unstable();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
        sorted.get(index).copied().unwrap_or(0)
    }

    /// Answered requests per second.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn per_second(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// # Panics
    /// A request failed, or there were suspiciously few.
    pub fn assert_clean(&self, answered_min: u64) {
        assert_eq!(
            self.failed, 0,
            "{} failed, {} answered: {:#?}",
            self.failed, self.answered, self.failures
        );
        assert!(
            self.answered >= answered_min,
            "only {} requests were answered",
            self.answered
        );
    }
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Clients at once.
    pub clients: usize,
    /// The tool; it must answer with its argument `text`.
    pub tool: String,
    /// Bytes of that text.
    pub payload_bytes: usize,
    /// Between two requests of one client.
    pub pause: Duration,
    /// Whether latencies are kept.
    pub timed: bool,
}

impl Plan {
    /// So many clients, as fast as they are answered.
    #[must_use]
    pub fn clients(clients: usize) -> Self {
        Self {
            clients,
            tool: "echo".to_owned(),
            payload_bytes: 32,
            pause: Duration::ZERO,
            timed: true,
        }
    }

    /// With a pause between two requests of one client.
    #[must_use]
    pub fn paused(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

/// Load that runs until it is stopped.
#[derive(Debug)]
pub struct Load {
    begun: Instant,
    stop: CancellationToken,
    tasks: JoinSet<Tally>,
    answered: Arc<AtomicU64>,
    connected: Arc<AtomicU64>,
    failures: Arc<Mutex<(u64, Vec<String>)>>,
}

impl Load {
    /// Opens every session, then lets all clients loose.
    pub async fn start(address: SocketAddr, path: &str, plan: &Plan) -> Self {
        let mut wires = Vec::new();
        for number in 0..plan.clients {
            let mut wire = Wire::connect(address, path).await.unwrap();
            let opened = wire.post(mcp::initialize(0).to_string().as_bytes()).await;
            let opened = opened.unwrap_or_else(|broken| panic!("client {number}: {broken}"));
            let text = String::from_utf8_lossy(&opened.body).into_owned();
            assert_eq!(opened.status, 200, "client {number} at {path}: {text}");
            wire.session = opened.session;
            let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
            wire.post(done.to_string().as_bytes()).await.unwrap();
            wires.push(wire);
        }
        let mut load = Self {
            begun: Instant::now(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
            answered: Arc::default(),
            connected: Arc::new(AtomicU64::new(plan.clients as u64)),
            failures: Arc::default(),
        };
        for (number, wire) in wires.into_iter().enumerate() {
            let client = Client {
                number,
                plan: plan.clone(),
                address,
                path: path.to_owned(),
                stop: load.stop.clone(),
                answered: Arc::clone(&load.answered),
                connected: Arc::clone(&load.connected),
                failures: Arc::clone(&load.failures),
            };
            load.tasks.spawn(client.run(wire));
        }
        load
    }

    /// How many requests have been answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// How many clients have a connection, as far as they know.
    #[must_use]
    pub fn connected(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }

    /// How many requests have failed so far, and how the first did.
    #[must_use]
    pub fn failed(&self) -> (u64, Vec<String>) {
        self.failures.lock().clone()
    }

    /// Forgets the failures so far, which were to be expected.
    pub fn forgive(&self) {
        *self.failures.lock() = (0, Vec::new());
    }

    /// Waits until so many more requests were answered.
    pub async fn further(&self, requests: u64, within: Duration) {
        let target = self.answered() + requests;
        crate::until(
            &format!("{requests} further requests"),
            within,
            async || {
                let answered = self.answered();
                if answered >= target {
                    Ok(())
                } else {
                    Err(format!(
                        "{answered} of {target}; failed: {:#?}",
                        self.failed()
                    ))
                }
            },
        )
        .await;
    }

    /// Ends it, and counts.
    pub async fn stop(mut self) -> Tally {
        self.stop.cancel();
        let mut total = Tally::default();
        while let Some(one) = self.tasks.join_next().await {
            let one = one.unwrap();
            total.answered += one.answered;
            total.requests.extend(one.requests);
        }
        let (failed, failures) = self.failed();
        total.failed = failed;
        total.failures = failures;
        total.elapsed = self.begun.elapsed();
        total
    }

    /// Runs it for so long.
    pub async fn run(address: SocketAddr, path: &str, plan: &Plan, time: Duration) -> Tally {
        let load = Self::start(address, path, plan).await;
        tokio::time::sleep(time).await;
        load.stop().await
    }
}

struct Client {
    number: usize,
    plan: Plan,
    address: SocketAddr,
    path: String,
    stop: CancellationToken,
    answered: Arc<AtomicU64>,
    connected: Arc<AtomicU64>,
    failures: Arc<Mutex<(u64, Vec<String>)>>,
}

impl Client {
    async fn run(self, mut wire: Wire) -> Tally {
        let mut tally = Tally::default();
        let filler = "x".repeat(self.plan.payload_bytes);
        let mut id = 0_u64;
        while !self.stop.is_cancelled() {
            id += 1;
            let text = format!("{}/{id}/{filler}", self.number);
            let request = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
                "params": {"name": self.plan.tool, "arguments": {"text": text}}});
            let begun = Instant::now();
            match ask(&mut wire, id, &text, request.to_string().as_bytes()).await {
                Ok(()) => {
                    tally.answered += 1;
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    if self.plan.timed {
                        let took_us = begun.elapsed().as_micros();
                        let took_us = u32::try_from(took_us).unwrap_or(u32::MAX);
                        tally.requests.push(Answered { begun, took_us });
                    }
                }
                Err(failure) => {
                    self.failed(&failure.to_string());
                    if failure.is_broken && !self.reconnected(&mut wire).await {
                        break;
                    }
                }
            }
            if !self.plan.pause.is_zero() {
                tokio::time::sleep(self.plan.pause).await;
            }
        }
        tally
    }

    fn failed(&self, why: &str) {
        let mut failures = self.failures.lock();
        failures.0 += 1;
        if failures.1.len() < FAILURES_KEPT {
            failures.1.push(format!("client {}: {why}", self.number));
        }
    }

    /// Connects again, with the same session; false when it is to stop.
    async fn reconnected(&self, wire: &mut Wire) -> bool {
        self.connected.fetch_sub(1, Ordering::Relaxed);
        while !self.stop.is_cancelled() {
            if let Ok(mut fresh) = Wire::connect(self.address, &self.path).await {
                fresh.session = wire.session.take();
                *wire = fresh;
                self.connected.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            tokio::time::sleep(CONNECT_PAUSE).await;
        }
        false
    }
}

struct Failure {
    text: String,
    is_broken: bool,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

async fn ask(wire: &mut Wire, id: u64, text: &str, request: &[u8]) -> Result<(), Failure> {
    let answer = wire.post(request).await.map_err(|broken| Failure {
        text: broken.to_string(),
        is_broken: true,
    })?;
    let body = String::from_utf8_lossy(&answer.body);
    let of_another = || Failure {
        text: format!("{} {body}", answer.status),
        is_broken: false,
    };
    // Events before the response (there are none for an echo) would be lines before it.
    let last = body.lines().last().unwrap_or_default();
    let response: Value = serde_json::from_str(last).map_err(|_| of_another())?;
    let own = response["id"] == id && response["result"]["content"][0]["text"] == text;
    if answer.status == 200 && own {
        Ok(())
    } else {
        Err(of_another())
    }
}
