//! Who may do what: roles, tokens, `Host`, `Origin`, and the trail that every mutation and every refused login leaves.

use std::time::Duration;

use reqwest::{Method, StatusCode, header::HeaderMap};
use router_tests::{Config, Router, Session, mcp, peers, processes, until};
use rustix::process::Signal;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);

/// A token, and its lines for the file, as `token new` prints them.
fn new_token(name: &str, role: &str, more: &[&str]) -> (String, String) {
    let mut command = std::process::Command::new(peers::program("godot-mcp-router"));
    command
        .args(["token", "new", "--name", name, "--role", role])
        .args(more);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let token = text.lines().find_map(|line| line.strip_prefix("token "));
    let token = token
        .unwrap_or_else(|| panic!("no token in {text}"))
        .trim()
        .to_owned();
    let at = text
        .find("[[token]]")
        .unwrap_or_else(|| panic!("no lines for the file in {text}"));
    assert!(
        !text[at..].contains(&token),
        "the file would hold the token itself: {text}"
    );
    (token, text[at..].to_owned())
}

struct Asked {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

async fn ask(router: &Router, method: Method, path: &str, headers: &[(&str, &str)]) -> Asked {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.request(method, router.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if path.starts_with("/mcp") {
        request = request
            .header("accept", "application/json, text/event-stream")
            .json(&mcp::initialize(1));
    }
    let answer = request.send().await.unwrap();
    Asked {
        status: answer.status(),
        headers: answer.headers().clone(),
        body: answer.json().await.unwrap_or_default(),
    }
}

async fn audit_rows(router: &Router, query: &str, token: &str) -> Vec<Value> {
    let bearer = format!("Bearer {token}");
    let page = ask(
        router,
        Method::GET,
        &format!("/api/audit?{query}"),
        &[("authorization", &bearer)],
    )
    .await;
    assert_eq!(page.status, 200, "{}", page.body);
    let rows = page.body["rows"].as_array();
    rows.unwrap_or_else(|| panic!("no rows in {}", page.body))
        .clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_may_do_its_own_and_nothing_else() {
    let (viewer, viewer_lines) = new_token("dashboard", "viewer", &[]);
    let (client, client_lines) = new_token("ide", "client", &["--instance", "echo"]);
    let (operator, operator_lines) = new_token("night-shift", "operator", &[]);
    let (admin, admin_lines) = new_token("owner", "admin", &[]);
    let config = Config::new()
        .set("server", "loopback_roles = []")
        .server(peers::echo().autostart())
        .server(peers::echo().named("other"))
        .tail(&[viewer_lines, client_lines, operator_lines, admin_lines].join("\n"));
    let router = Router::start(&config).await;
    let check = async |who: &str, token: &str, method: Method, path: &str, allowed: bool| {
        let bearer = format!("Bearer {token}");
        let asked = ask(&router, method.clone(), path, &[("authorization", &bearer)]).await;
        let got = asked.status;
        if allowed {
            assert!(
                got.is_success(),
                "{who} {method} {path}: {got} {}",
                asked.body
            );
        } else {
            assert_eq!(got, 403, "{who} {method} {path}: {}", asked.body);
        }
    };
    let stop = "/api/instances/other/stop";
    check("viewer", &viewer, Method::GET, "/api/health/mcp", true).await;
    check("viewer", &viewer, Method::GET, "/api/audit", true).await;
    check("viewer", &viewer, Method::GET, "/metrics", true).await;
    check("viewer", &viewer, Method::POST, stop, false).await;
    check("viewer", &viewer, Method::POST, "/mcp/echo", false).await;
    check("client", &client, Method::POST, "/mcp/echo", true).await;
    check("client", &client, Method::POST, "/mcp/other", false).await;
    check("client", &client, Method::POST, stop, false).await;
    check("operator", &operator, Method::POST, stop, true).await;
    check(
        "operator",
        &operator,
        Method::POST,
        "/api/config/reload",
        true,
    )
    .await;
    check("admin", &admin, Method::GET, "/api/health/mcp", true).await;
    // A role that may do everything to instances may not call them: `client` is a role of its own.
    check("admin", &admin, Method::POST, "/mcp/other", false).await;
    check(
        "admin",
        &admin,
        Method::DELETE,
        "/api/instances/other/state",
        true,
    )
    .await;

    let nobody = ask(&router, Method::GET, "/api/health/mcp", &[]).await;
    assert_eq!(nobody.status, 401, "{}", nobody.body);
    assert!(nobody.headers.contains_key("www-authenticate"));
    let wrong = [("authorization", "Bearer not-a-token-of-anybody")];
    assert_eq!(ask(&router, Method::POST, stop, &wrong).await.status, 401);
    let refused = ask(&router, Method::POST, "/mcp/echo", &wrong).await;
    assert_eq!(refused.status, 401);
    assert!(
        refused.body["error"]["message"].is_string(),
        "{}",
        refused.body
    );
    for open in ["/api/health/liveness", "/api/health/readiness"] {
        assert!(
            ask(&router, Method::GET, open, &[]).await.status != 401,
            "{open}"
        );
    }

    // A refusal names its actor where there is one, and has a row also where there is none.
    let nobody = ask(&router, Method::POST, stop, &[]).await;
    assert_eq!(nobody.status, 401);
    for (actor, what) in [
        ("dashboard", "role"),
        ("unknown", "token_invalid"),
        ("unknown", "token_missing"),
    ] {
        until(
            &format!("a row about {actor} and {what}"),
            Duration::from_secs(30),
            async || {
                let refusals = audit_rows(&router, "action=login", &viewer).await;
                let found = refusals.iter().any(|row| {
                    let detail = row["detail"].as_str().unwrap_or_default();
                    row["actor"] == actor && detail.starts_with(what)
                });
                found.then_some(()).ok_or_else(|| format!("{refusals:#?}"))
            },
        )
        .await;
    }

    // The trail: who, what, from where, with what result; in rows and in lines.
    let stops = audit_rows(&router, "action=instance.stop", &viewer).await;
    let by_operator = stops
        .iter()
        .find(|row| row["actor"] == "night-shift")
        .unwrap_or_else(|| panic!("{stops:#?}"));
    assert_eq!(by_operator["target"], "other");
    assert_eq!(by_operator["result"], "ok");
    assert!(
        by_operator["from"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1"),
        "{by_operator}"
    );
    let logins = audit_rows(&router, "action=login", &viewer).await;
    assert!(
        logins.iter().any(|row| row["result"] == "refused"),
        "{logins:#?}"
    );
    router
        .logged(&["AUDIT", "night-shift", "instance.stop"], SOON)
        .await;
    router.logged(&["AUDIT", "login", "refused"], SOON).await;
    let log = router.log();
    for secret in [&viewer, &client, &operator, &admin] {
        assert!(!log.contains(secret.as_str()), "a token stands in the log");
    }

    // The harness ends it as an operator would.
    let bearer = format!("Bearer {operator}");
    for id in ["echo", "other"] {
        let stopped = ask(
            &router,
            Method::POST,
            &format!("/api/instances/{id}/stop"),
            &[("authorization", &bearer)],
        )
        .await;
        assert!(stopped.status.is_success(), "{}", stopped.body);
    }
    let mut router = router;
    assert!(router.terminate().await.success(), "{}", router.tail());
    router.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limited_client_hears_of_no_other_instance() {
    let (limited, lines) = new_token("ide", "client", &["--instance", "echo"]);
    let config = Config::new()
        .server(peers::echo().autostart())
        .server(peers::echo().named("secret-project").autostart())
        .tail(&lines);
    let router = Router::start(&config).await;
    router.ready("echo").await;
    router.ready("secret-project").await;
    let bearer = format!("Bearer {limited}");
    let limited = ask(
        &router,
        Method::POST,
        "/mcp/echo",
        &[("authorization", &bearer)],
    )
    .await;
    let anyone = ask(&router, Method::POST, "/mcp/echo", &[]).await;
    router.post("/api/instances/echo/breaker/isolate").await;
    let rejected = async |begun: &Asked, headers: &[(&str, &str)]| {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client
            .post(router.url("/mcp/echo"))
            .header("accept", "application/json, text/event-stream")
            .header("mcp-session-id", &begun.headers["mcp-session-id"])
            .json(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        let text = body["error"].to_string();
        assert!(text.contains("Circuit breaker is OPEN"), "{body}");
        text
    };
    let text = rejected(&anyone, &[]).await;
    assert!(
        text.contains("Other instances answer: secret-project."),
        "{text}"
    );
    let text = rejected(&limited, &[("authorization", &bearer)]).await;
    assert!(!text.contains("secret-project"), "{text}");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_strangers_are_refused_and_their_names_too() {
    let config = Config::new()
        .set("server", "allowed_hosts = [\"router.internal\"]")
        .set("server", "allowed_origins = [\"https://ide.example.org\"]")
        .server(peers::echo().autostart());
    let router = Router::start(&config).await;
    router.ready("echo").await;
    let check = async |path: &str, name: &str, value: &str, allowed: bool| {
        let method = if path.starts_with("/mcp") {
            Method::POST
        } else {
            Method::GET
        };
        let asked = ask(&router, method, path, &[(name, value)]).await;
        if allowed {
            assert_eq!(asked.status, 200, "{path} {name}: {value}: {}", asked.body);
        } else {
            assert!(
                asked.status == 403 || asked.status == 421,
                "{path} {name}: {value}: {} {}",
                asked.status,
                asked.body
            );
        }
    };
    for path in ["/mcp/echo", "/api/instances"] {
        check(path, "host", "evil.example.org", false).await;
        check(path, "host", "127.0.0.1.evil.example.org", false).await;
        check(path, "host", "localhost", true).await;
        check(path, "host", "router.internal:8443", true).await;
        check(path, "origin", "https://evil.example.org", false).await;
        check(path, "origin", "null", false).await;
        check(path, "origin", "https://ide.example.org", true).await;
        pages_of_allowed_origins_may_read(&router, path).await;
    }
    // A load balancer asks by address, whatever the name.
    for path in [
        "/api/health/liveness",
        "/api/health/readiness",
        "/api/metrics/prometheus",
    ] {
        check(path, "host", "10.1.2.3", true).await;
    }
    router.end().await;
}

/// What a browser asks before, and looks for after, a page's request.
async fn pages_of_allowed_origins_may_read(router: &Router, path: &str) {
    let ours = "https://ide.example.org";
    let preflight = async |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "content-type,mcp-session-id",
            ),
        ];
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.request(Method::OPTIONS, router.url(path));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().await.unwrap()
    };
    let allowed = preflight(ours).await;
    assert_eq!(allowed.status(), 204, "{path}");
    assert_eq!(allowed.headers()["access-control-allow-origin"], ours);
    let headers = allowed.headers()["access-control-allow-headers"].clone();
    for name in ["authorization", "content-type", "mcp-session-id"] {
        assert!(headers.to_str().unwrap().contains(name), "{headers:?}");
    }
    let refused = preflight("https://evil.example.org").await;
    assert_eq!(refused.status(), 403, "{path}");
    assert!(
        !refused
            .headers()
            .contains_key("access-control-allow-origin")
    );
    let method = if path.starts_with("/mcp") {
        Method::POST
    } else {
        Method::GET
    };
    let answer = ask(router, method, path, &[("origin", ours)]).await;
    assert_eq!(answer.headers["access-control-allow-origin"], ours);
    let exposed = answer.headers["access-control-expose-headers"].clone();
    assert!(
        exposed.to_str().unwrap().contains("mcp-session-id"),
        "{exposed:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_needed_to_listen_for_others() {
    let config = Config::new().set("server", "listen = \"0.0.0.0:0\"");
    let router = Router::prepared(&config, &[]);
    let refused = router.run(&["serve"]).await;
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(stderr.contains("token"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mutation_leaves_a_row_and_a_line() {
    let router = Router::start(&Config::new().server(peers::echo().autostart())).await;
    router.ready("echo").await;
    let definition = json!({"id": "another", "template": "t-echo"});
    let (status, made) = router
        .ask(Method::POST, "/api/instances", Some(&definition))
        .await;
    assert_eq!(status, 201, "{made}");
    let mutations: [(Method, &str, Option<Value>, &str, &str); 10] = [
        (
            Method::POST,
            "/api/instances/another/spawn",
            None,
            "instance.start",
            "another",
        ),
        (
            Method::POST,
            "/api/instances/another/restart",
            None,
            "instance.restart",
            "another",
        ),
        (
            Method::POST,
            "/api/instances/another/stop",
            None,
            "instance.stop",
            "another",
        ),
        (
            Method::DELETE,
            "/api/instances/another/state",
            None,
            "instance.clear-state",
            "another",
        ),
        (
            Method::POST,
            "/api/instances/another/breaker/isolate",
            None,
            "breaker.isolate",
            "another",
        ),
        (
            Method::POST,
            "/api/instances/another/breaker/reset",
            None,
            "breaker.reset",
            "another",
        ),
        (
            Method::DELETE,
            "/api/instances/another",
            None,
            "instance.remove",
            "another",
        ),
        (
            Method::PUT,
            "/api/log-level",
            Some(json!({"level": "debug"})),
            "log-level.set",
            "debug",
        ),
        (
            Method::POST,
            "/api/plugins/reload",
            None,
            "plugins.reload",
            "",
        ),
        (
            Method::POST,
            "/api/config/reload",
            None,
            "config.reload",
            "",
        ),
    ];
    for (method, path, body, ..) in &mutations {
        let (status, answer) = router.ask(method.clone(), path, body.as_ref()).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
    }
    // The other way to reload, and what the router does by itself.
    // Which mean something to other daemons, and would end one that does not listen.
    for signal in [Signal::USR1, Signal::USR2] {
        processes::signal(router.pid(), signal);
    }
    router.logged(&["signal ignored"], SOON).await;
    processes::signal(router.pid(), Signal::HUP);
    for needles in [
        ["AUDIT", "instance.register", "another"],
        ["AUDIT", "config.reload", "SIGHUP"],
        ["AUDIT", "router.start", "ok"],
    ] {
        router.logged(&needles, SOON).await;
    }
    // One that is defined in the file is removed there.
    let (status, conflict) = router
        .ask(Method::DELETE, "/api/instances/echo", None)
        .await;
    assert_eq!(status, 409, "{conflict}");
    let page = router.get("/api/audit?limit=1000").await;
    let rows = page["rows"].as_array().unwrap_or_else(|| panic!("{page}"));
    for (_, path, _, action, target) in &mutations {
        let row = rows
            .iter()
            .find(|row| row["action"] == *action && row["target"] == *target && row["from"] != "");
        let row = row.unwrap_or_else(|| panic!("{path}: no row {action} {target} in {page}"));
        assert_eq!(row["result"], "ok", "{row}");
        assert_eq!(row["actor"], "loopback", "{row}");
        assert!(
            row["from"]
                .as_str()
                .is_some_and(|from| from.starts_with("127.0.0.1")),
            "{row}"
        );
        router.logged(&["AUDIT", action], SOON).await;
    }
    let refused = rows
        .iter()
        .find(|row| row["action"] == "instance.remove" && row["target"] == "echo");
    assert_eq!(
        refused.unwrap_or_else(|| panic!("{page}"))["result"],
        "refused"
    );
    let started = rows
        .iter()
        .find(|row| row["action"] == "instance.started" && row["target"] == "echo");
    assert!(started.is_some(), "no row of echo's start in {page}");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_audit_lines_the_rows_are_still_kept() {
    let config = Config::new().server(peers::echo());
    let router = Router::start_with(&config, &[("ENABLE_AUDIT_LOG", "false")]).await;
    router.post("/api/instances/echo/start").await;
    let page = router.get("/api/audit?action=instance.start").await;
    assert_eq!(page["rows"].as_array().map(Vec::len), Some(1), "{page}");
    assert!(!router.log().contains("AUDIT"), "{}", router.log());
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_one_instance_opens_no_other() {
    let config = Config::new()
        .server(peers::echo())
        .server(peers::echo().named("other"));
    let router = Router::start(&config).await;
    let session = router.session("echo").await;
    let mut elsewhere = Session::new(&router.mcp_url("other"));
    elsewhere.id = session.id;
    let answer = elsewhere
        .post(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
        .await;
    assert_eq!(answer.status, 404, "{}", answer.text);
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_answers_to_the_token_that_began_it_alone() {
    let (one, lines_of_one) = new_token("one", "client", &[]);
    let (other, lines_of_other) = new_token("other", "client", &[]);
    let config = Config::new()
        .server(peers::echo().autostart())
        .tail(&format!("{lines_of_one}\n{lines_of_other}"));
    let mut router = Router::start(&config).await;
    router.ready("echo").await;
    let mut session = Session::new(&router.mcp_url("echo"));
    session.token = Some(one);
    session.initialize().await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    for life in ["first", "second"] {
        for token in [Some(other.clone()), None] {
            let mut thief = Session::new(&router.mcp_url("echo"));
            (thief.id, thief.token) = (session.id.clone(), token);
            let answer = thief.post(&list).await;
            assert_eq!(answer.status, 404, "{life}: {}", answer.text);
            assert_eq!(thief.close().await, 404, "{life}");
        }
        let answer = session.post(&list).await;
        assert_eq!(answer.status, 200, "{life}: {}", answer.text);
        if life == "first" {
            router.kill().await;
            router.start_again().await;
            router.ready("echo").await;
            session.url = router.mcp_url("echo");
        }
    }
    router.end().await;
}
