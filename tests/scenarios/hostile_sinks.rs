//! Alert sinks, and receivers, that mean harm, behind a whole router: no secret is found anywhere that it must not be, and no sink keeps
//! another from its alerts. What egress itself refuses is tested beside it (`host/egress`, `host/engine`): here it is what the router
//! logs, keeps and shows.

use std::{path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use router_tests::{
    Router, processes,
    receivers::{Authority, Received, Receiver, Reply, Service},
    until,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use crate::channels::{Channel, SOON, alert, config, reload, start_with};

/// A secret that is written otherwise in an address, in JSON and in a form.
const SECRET: &str = "hunter2/\"+&%41 z";

/// What it, and any part of it, is found by: as it is, and in base64.
const TRACES: [&str; 2] = ["hunter2", "aHVudGVyMi"];

/// A receiver that says everything that it got, in its answer's head and body, and keeps it.
#[derive(Default)]
struct Echo(Mutex<Vec<Received>>);

impl Echo {
    fn requests(&self) -> Vec<Received> {
        self.0.lock().clone()
    }
}

impl Service for Echo {
    fn reply(&self, request: &Received) -> Reply {
        self.0.lock().push(request.clone());
        let key = request.headers.get("x-key").cloned().unwrap_or_default();
        let body = format!("{} {:?} {}", request.path, request.headers, request.body);
        Reply::Answer(400, vec![("X-Echo", key)], body)
    }
}

/// A sink by the hostile guest.
fn hostile(
    name: &str,
    mode: &str,
    receiver: &Receiver,
    authority: &Authority,
    more: &str,
) -> String {
    let (url, ca_file) = (receiver.url(), authority.ca_file());
    format!(
        "[sink.{name}]\nplugin = \"hostile-sink\"\nconfig = {{ mode = \"{mode}\", url = \"{url}\"{more} }}\n\
         secrets = {{ key = \"KEY\" }}\nallow = [\"{url}\"]\nca_file = {ca_file:?}\n"
    )
}

fn trace_in(bytes: &[u8]) -> Option<&'static str> {
    let holds = |trace: &&&str| {
        let mut windows = bytes.windows(trace.len());
        windows.any(|window| window == trace.as_bytes())
    };
    TRACES.iter().find(holds).copied()
}

/// Every file below, with the secret in none of them.
fn assert_untold(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_untold(&path);
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(trace_in(&bytes), None, "in {}", path.display());
        }
    }
}

/// Everything that the router shows, with the secret in none of it.
async fn assert_unshown(router: &Router) {
    let alerts = router.get("/api/alerts?state=all").await;
    let ids = alerts["alerts"].as_array().unwrap().iter();
    let ids: Vec<String> = ids
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();
    let plugins = router.get("/api/plugins").await;
    let plugins = plugins["plugins"]
        .as_array()
        .unwrap_or_else(|| panic!("{plugins}"))
        .iter();
    let plugins = plugins.map(|one| format!("/api/plugins/{}", one["name"].as_str().unwrap()));
    let paths = [
        "/api/alerts?state=all",
        "/api/deliveries",
        "/api/plugins",
        "/api/history",
        "/api/audit",
        "/api/metrics/prometheus",
        "/api/health/readiness",
    ];
    let alerts = ids.iter().map(|id| format!("/api/alerts/{id}"));
    for path in paths
        .map(str::to_owned)
        .into_iter()
        .chain(alerts)
        .chain(plugins)
    {
        let shown = router.get(&path).await.to_string();
        assert_eq!(trace_in(shown.as_bytes()), None, "{path}: {shown}");
    }
    for arguments in [
        vec!["deliveries"],
        vec!["alerts", "list", "--all"],
        vec!["alerts", "explain", &ids[0]],
    ] {
        let mut command = router.command();
        command
            .args(&arguments)
            .env("GODOT_MCP_ROUTER_URL", router.url(""));
        let output = command.output().await.unwrap();
        assert_eq!(trace_in(&output.stdout), None, "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sink_finds_out_is_no_secret_wherever_it_says_it() {
    const SUMMARY: &str = "key {key} SECRET-key placeholder(key) $KEY %7Bkey%7D";
    let authority = Authority::new();
    let (echo, elsewhere) = (Arc::<Echo>::default(), Arc::<Echo>::default());
    let receiver = Receiver::start(&authority, echo.clone()).await;
    let other = Receiver::start(&authority, elsewhere.clone()).await;
    // Nobody listens there any more when the router starts.
    let closed = Receiver::start(&authority, elsewhere.clone()).await;
    let steals = format!(", elsewhere = \"{}\"", other.url());
    let sinks = [
        hostile("refuses", "leak", &receiver, &authority, ""),
        hostile(
            "retries",
            "leak",
            &receiver,
            &authority,
            ", answer = \"retry\"",
        ),
        hostile(
            "returns",
            "leak",
            &receiver,
            &authority,
            ", answer = \"receipt\"",
        ),
        hostile("steals", "steal", &receiver, &authority, &steals),
        hostile("hoards", "hoard", &receiver, &authority, ""),
        hostile("repeats", "repeat", &receiver, &authority, ""),
        hostile("loses", "leak", &closed, &authority, ", answer = \"retry\""),
    ]
    .concat();
    drop(closed);
    let with = |alerts: &[&str], summary: &str| {
        let summary = format!("summary = {summary:?}");
        let config = config(alerts).set("plugins.config.hostile-rule", &summary);
        config.tail(&sinks)
    };
    let names = [
        "one = \"P2 One\"",
        "two = \"P2 Two\"",
        "three = \"P2 Three\"",
    ];
    let router = start_with(&with(&names[..1], SUMMARY), &[("KEY", SECRET)]).await;
    let seen = async |what: &str, wanted: &dyn Fn(&Received) -> bool| {
        until(what, SOON, async || {
            let mut requests = echo.requests().into_iter();
            let found = requests.find(|request| wanted(request));
            found.ok_or_else(|| format!("{:#?}\n{}", echo.requests(), router.tail()))
        })
        .await
    };
    // Those that may use the secret do; the summary of an alert are summary.
    seen("the secret where it may go", &|one| {
        one.headers.get("x-key").is_some_and(|key| key == SECRET)
    })
    .await;
    seen("a placeholder of its own call", &|one| {
        one.path.starts_with("/?key=hunter2")
    })
    .await;
    seen("the summary of the alert", &|one| {
        one.body.contains(SUMMARY)
    })
    .await;

    // What another call's placeholder was is a word, too, in a request and in an alert.
    reload(&router, &with(&names[..2], SUMMARY)).await;
    let old = seen("an old placeholder", &|one| {
        one.path.starts_with("/?key=secret")
    })
    .await;
    let token = old.path.trim_start_matches("/?key=").to_owned();
    let summary = format!("{SUMMARY} {token}");
    reload(&router, &with(&names, &summary)).await;
    seen("an alert with the old placeholder", &|one| {
        one.body.contains(&summary)
    })
    .await;
    assert!(
        elsewhere.requests().is_empty(),
        "{:#?}",
        elsewhere.requests()
    );

    // Each said what it knew, where it could.
    router.logged(&["known: ", "[redacted]"], SOON).await;
    router.logged(&["plugin stdout", "known: "], SOON).await;
    let letters = router.get("/api/deliveries").await["deadLetters"].to_string();
    assert!(
        letters.contains("known: ") && letters.contains("[redacted]"),
        "{letters}"
    );
    assert!(letters.contains("Denied"), "{letters}");
    assert_unshown(&router).await;
    let mut router = router;
    router.terminate().await;
    assert_untold(router.home());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sinks_that_loop_trap_or_flood_keep_no_alert_from_another() {
    const MODES: [&str; 6] = ["loop", "trap", "memory", "logs", "calls", "flood"];
    let authority = Authority::new();
    let chat = Channel::start(&authority, "chat").await;
    let receiver = Receiver::start(&authority, Arc::<Echo>::default()).await;
    let sinks = MODES.map(|mode| hostile(mode, mode, &receiver, &authority, ""));
    let config = config(&["all = \"P1 All\"", "doomed = \"P1 Doomed\""])
        .set("alerts", "rules = [\"hostile-rule\", \"default-alerts\"]")
        .set("plugins.config.default-alerts", "disk_share = 1.0")
        .plugin("default-alerts.wasm")
        .tail(&sinks.concat())
        .tail(&chat.section(""))
        .tail("[[alerts.route]]\nname = [\"Doomed\"]\nsinks = [\"trap\", \"loop\"]\n")
        .tail("[[alerts.route]]\nname = [\"All\"]\nsinks = [\"loop\", \"trap\", \"memory\", \"logs\", \"calls\", \"flood\", \"chat\"]\n")
        .tail("[[alerts.route]]\nsinks = [\"chat\"]\n");
    let router = start_with(&config, &[("KEY", SECRET)]).await;
    chat.has(&router, "all", &["firing"]).await;
    let before = processes::resident_bytes(router.pid());

    // Who is quarantined is reported through another, and so is that a P1 would reach nobody.
    for sink in ["loop", "trap", "memory", "calls"] {
        let key = format!("AlertingPluginDown/sink.{sink}");
        chat.has_within(&router, &key, &["firing"], Duration::from_secs(120))
            .await;
    }
    let key = "router:undeliverable:2";
    let undeliverable = until(
        "a P1 that would reach nobody",
        Duration::from_secs(180),
        async || {
            let open = router.get("/api/alerts?state=open").await;
            let mut alerts = open["alerts"].as_array().unwrap().iter();
            let found = alerts.find(|one| one["name"] == "undeliverable");
            found
                .cloned()
                .ok_or_else(|| format!("{key}: {open}\n{}", router.tail()))
        },
    )
    .await;
    assert_eq!(undeliverable["severity"], "P1", "{undeliverable}");
    chat.has(&router, undeliverable["key"].as_str().unwrap(), &["firing"])
        .await;

    let mut command = router.command();
    command
        .args(["alerts", "test", "--sink", "trap"])
        .env("GODOT_MCP_ROUTER_URL", router.url(""));
    let said = String::from_utf8(command.output().await.unwrap().stdout).unwrap();
    assert!(
        said.starts_with("trap: did not arrive: ") && said.lines().count() == 1,
        "{said}"
    );
    assert!(said.contains("panicked"), "{said}");

    let grown = processes::resident_bytes(router.pid()).saturating_sub(before);
    assert!(
        grown < 256 * 1024 * 1024,
        "the router grew by {grown} bytes"
    );
    let log = std::fs::metadata(router.path("logs/godot-mcp-router.log")).unwrap();
    assert!(log.len() < 20 * 1024 * 1024, "{} bytes of log", log.len());
    router.end().await;
}

/// A receiver without TLS that answers the first bytes, and then the second ones for ever, with a pause between.
async fn drip(first: &'static str, again: &'static str, pause: Duration) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections.spawn(async move {
                let mut request = [0; 16 * 1024];
                let _ = stream.read(&mut request).await;
                let mut written = stream.write_all(first.as_bytes()).await;
                while written.is_ok() {
                    tokio::time::sleep(pause).await;
                    written = stream.write_all(again.as_bytes()).await;
                }
            });
        }
    });
    (url, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_that_answer_without_end_hold_up_no_other() {
    let authority = Authority::new();
    let chat = Channel::start(&authority, "chat").await;
    let slow = Duration::from_millis(20);
    let endless = "HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let receivers = [
        // Named by what it is, with what is said of it.
        (
            "slow-head",
            drip("HTTP/1.1 200 OK\r\n", "X: y\r\n", slow).await,
            "no answer in",
        ),
        (
            "slow-body",
            drip(endless, "1\r\nx\r\n", slow).await,
            "no answer in",
        ),
        (
            "early-hints",
            drip(
                "",
                "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
                Duration::ZERO,
            )
            .await,
            "",
        ),
        (
            "huge-head",
            drip(
                "HTTP/1.1 200 OK\r\nX: ",
                "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
                Duration::ZERO,
            )
            .await,
            "",
        ),
        (
            "long-body",
            drip(
                endless,
                "40\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
                Duration::ZERO,
            )
            .await,
            "500",
        ),
    ];
    let sections = receivers.iter().map(|(name, (url, _), _)| {
        format!(
            "[sink.{name}]\nplugin = \"webhook\"\nconfig = {{ url = \"{url}/\" }}\nsecrets = {{ secret = \"SIGNING\" }}\nallow = [\"{url}\"]\n"
        )
    });
    let config = config(&["all = \"P1 All\""])
        .tail(&sections.collect::<String>())
        .tail(&chat.section(""));
    let router = start_with(&config, &[]).await;
    chat.has(&router, "all", &["firing"]).await;
    let before = processes::resident_bytes(router.pid());
    // All at once: what each of them is said to have done.
    let said = until(
        "every receiver to be given up",
        Duration::from_secs(120),
        async || {
            let deliveries = router.get("/api/deliveries").await;
            let waiting = deliveries["waiting"].as_array().unwrap();
            let failed = |name: &str| {
                let of_sink = waiting.iter().find(|one| one["sink"] == name)?;
                Some(of_sink["lastFailure"].as_str()?.to_owned())
            };
            let failures: Option<Vec<String>> =
                receivers.iter().map(|(name, ..)| failed(name)).collect();
            failures.ok_or_else(|| format!("{deliveries}\n{}", router.tail()))
        },
    )
    .await;
    for ((name, _, expected), failure) in receivers.iter().zip(&said) {
        assert!(
            failure.contains(expected) && failure.len() <= 1_100,
            "{name}: {failure}"
        );
    }
    let grown = processes::resident_bytes(router.pid()).saturating_sub(before);
    assert!(
        grown < 128 * 1024 * 1024,
        "the router grew by {grown} bytes"
    );
    let one = alert(&router, "all", "that fires", |one| one["state"] == "firing").await;
    assert_eq!(one["severity"], "P1");
    router.end().await;
}
