//! A router's delivery in a process of its own that is killed with SIGKILL at every step of a delivery: before the record of the
//! journal is on disk, after it, in the middle of the request, when the answer came, and when its receipt was kept. The receiver is
//! a real HTTP server in this process. Each firing arrives, what arrives twice carries the same id, and what was kept as delivered
//! is not sent again.
//!
//! This program runs itself as that process, so it has its own `main`: `GMR_DELIVERY_CHILD` names the directory.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use router_alerts::{
    AlertId, AlertRef, Condition, DeliveryId, Severity,
    delivery::{
        Delivery, DeliveryOrder, DeliveryProgress, Precedence, ScheduleEvent, ScheduleLimits,
        SinkSchedule, SinkTable,
    },
    notice::{DeliveryError, Notice, NoticeAlert, Occasion, Receipt},
};
use router_delivery::{AlertJournal, Courier, CourierSettings, Sink};
use serde_json::value::to_raw_value;

const CHILD: &str = "GMR_DELIVERY_CHILD";
const STEP: &str = "GMR_DELIVERY_STEP";
const RECEIVER: &str = "GMR_DELIVERY_RECEIVER";
const FIRING: &str = "GMR_DELIVERY_FIRING";

/// Where the process is killed.
const STEPS: [&str; 6] = [
    "before_fsync",
    "during_fsync",
    "after_fsync",
    "sending",
    "answered",
    "receipt_kept",
];
/// Kills at each step.
const ROUNDS: u32 = 15;
const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    if let Ok(dir) = std::env::var(CHILD) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(child(dir.into()));
    }
    const NAME: &str = "killed_at_every_step_each_firing_arrives_under_one_id";
    let (options, wanted): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|arg| arg.starts_with('-'));
    let has = |option: &str| options.iter().any(|given| given == option);
    if has("--list") {
        if !has("--ignored") {
            println!("{NAME}: test");
        }
    } else if wanted.is_empty() || wanted.iter().any(|filter| NAME.contains(filter.as_str())) {
        killed_at_every_step();
        println!("test {NAME} ... ok");
    }
}

// What the child does.

fn die_at(step: &str) {
    if variable(STEP) == step {
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        thread::park();
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

/// Posts each notice, as a sink does.
struct Poster {
    receiver: SocketAddr,
}

impl Sink for Poster {
    async fn deliver(&self, _: Arc<str>, notice: Notice) -> Result<Option<Receipt>, DeliveryError> {
        die_at("after_fsync");
        let receiver = self.receiver;
        let posted = tokio::task::spawn_blocking(move || post(receiver, &notice));
        posted
            .await
            .unwrap()
            .map_err(|error| DeliveryError::Other(error.to_string()))
    }
}

fn post(receiver: SocketAddr, notice: &Notice) -> std::io::Result<Option<Receipt>> {
    let mut stream = TcpStream::connect(receiver)?;
    let firing = &notice.alerts[0].condition.key;
    let body = format!("{} {} {firing}", notice.id, notice.attempt);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: receiver\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let request = format!("{head}{body}");
    let (half, rest) = request.split_at(request.len() / 2);
    stream.write_all(half.as_bytes())?;
    stream.flush()?;
    die_at("sending");
    stream.write_all(rest.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200") {
        return Err(std::io::Error::other(answer));
    }
    die_at("answered");
    Ok(Some(Receipt::new("kept".to_owned()).unwrap()))
}

/// One life: orders its firing unless the journal knows of it, as the engine does, and delivers until there is nothing to do.
async fn child(dir: PathBuf) {
    let (journal, mut contents) = AlertJournal::open(dir).unwrap();
    let sink = Arc::new(Poster {
        receiver: variable(RECEIVER).parse().unwrap(),
    });
    let settings = CourierSettings {
        sinks: SinkTable::new([SinkSchedule {
            sink: "pager".into(),
            interval_ms: 1,
            at_once_max: 2,
            fallback: None,
            is_per_alert: true,
            generation: 1,
        }])
        .unwrap(),
        limits: ScheduleLimits::default(),
        seed: u64::from(std::process::id()),
    };
    let key = variable(FIRING);
    let row = format!("alert/{key}");
    let is_known = contents.rows.contains_key(&row);
    let (mut courier, _) = Courier::start(settings, journal, &mut contents, sink).await;
    let mut with = Vec::new();
    if !is_known {
        die_at("before_fsync");
        with.push((row, Some(to_raw_value("firing").unwrap())));
        let order = DeliveryOrder::Deliver(Arc::new(firing(&key, courier.now_ms())));
        courier.decide(ScheduleEvent::Ordered(vec![order]));
    }
    let mut written = Box::pin(courier.carry_out(with));
    if variable(STEP) == "during_fsync" {
        tokio::select! {
            biased;
            _ = &mut written => {}
            () = async {} => die_at("during_fsync"),
        }
    }
    assert_eq!(written.await, None);
    while courier
        .schedule()
        .waiting(courier.now_ms())
        .next()
        .is_some()
    {
        let event = courier.next().await;
        let (reports, _) = courier.decide(event);
        assert_eq!(courier.carry_out(Vec::new()).await, None);
        let is_delivered =
            |progress: &DeliveryProgress| matches!(progress, DeliveryProgress::Delivered { .. });
        if reports.iter().any(|report| is_delivered(&report.progress)) {
            die_at("receipt_kept");
        }
    }
}

fn firing(key: &str, now_ms: u64) -> Delivery {
    let news = AlertRef {
        alert: AlertId::of(key),
        firing: 1,
    };
    let condition = Condition {
        key: key.to_owned(),
        name: "pager".to_owned(),
        severity: Severity::P1,
        summary: "it burns".to_owned(),
        remedy: "water".to_owned(),
        runbook_anchor: None,
        instance: None,
        for_ms: 0,
        attributes: Vec::new(),
    };
    Delivery {
        id: DeliveryId::new(news, 1, "pager"),
        sink: "pager".into(),
        route: None,
        group_key: format!("{key}#1").into(),
        occasion: Occasion::Firing,
        precedence: Precedence::FirstFiring,
        severity: Severity::P1,
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

// The receiver, and the process that kills.

/// Answers every whole request with 200, and passes its body on.
fn receive(listener: &TcpListener, bodies: &mpsc::Sender<String>) {
    for stream in listener.incoming() {
        let mut reader = BufReader::new(stream.unwrap());
        let mut length = 0;
        let mut line = String::new();
        // A request whose sender was killed ends early.
        while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        if length > 0 && reader.read_exact(&mut body).is_ok() {
            bodies.send(String::from_utf8(body).unwrap()).unwrap();
            let _ = reader
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    }
}

fn killed_at_every_step() {
    let started = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = listener.local_addr().unwrap();
    let (bodies, received) = mpsc::channel();
    thread::spawn(move || receive(&listener, &bodies));
    let life = |key: &str, step: &str| {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(CHILD, dir.path().join("alerts"))
            .env(STEP, step)
            .env(RECEIVER, receiver.to_string())
            .env(FIRING, key)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("{key}: a life that was to end at {step} goes on");
            }
            thread::sleep(Duration::from_millis(2));
        }
    };
    for round in 0..ROUNDS {
        for step in STEPS {
            let key = format!("{step}-{round}");
            let killed = life(&key, step);
            assert!(!killed.success(), "{key} was not killed");
            assert!(life(&key, "never").success(), "{key}");
            // What was kept as delivered is not sent by a third.
            assert!(life(&key, "never").success(), "{key}");
        }
    }
    let mut arrived: BTreeMap<String, Vec<(String, u32)>> = BTreeMap::new();
    for body in received.try_iter() {
        let parts: Vec<&str> = body.split(' ').collect();
        let [id, attempt, key] = parts[..] else {
            panic!("{body}");
        };
        let attempt = attempt.parse().unwrap();
        arrived
            .entry(key.to_owned())
            .or_default()
            .push((id.to_owned(), attempt));
    }
    for round in 0..ROUNDS {
        for step in STEPS {
            let key = format!("{step}-{round}");
            let got = arrived.remove(&key).unwrap_or_default();
            let times = if step == "answered" { 2 } else { 1 };
            assert_eq!(got.len(), times, "{key}: {got:?}");
            assert!(got.iter().all(|(id, _)| *id == got[0].0), "{key}: {got:?}");
        }
    }
    assert!(arrived.is_empty(), "{arrived:?}");
    let lives = ROUNDS * 3 * u32::try_from(STEPS.len()).unwrap();
    println!("{lives} lives in {:.1} s", started.elapsed().as_secs_f64());
}
