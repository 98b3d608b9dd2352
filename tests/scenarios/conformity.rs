//! Real servers, called by real clients, with and without the router: the same answers, named volatile members apart. Every tool that a
//! server lists is called; a tool that the table does not know fails the test, and so does one that is gone.

use std::{collections::BTreeSet, path::Path, process::Stdio, time::Duration};

use router_tests::{Config, Router, Server, peers};
use serde_json::Value;
use tokio::process::Command;

/// One run of a client: the slowest server takes 15 s by itself.
const RUN_WITHIN: Duration = Duration::from_secs(180);

/// How the answers of a server are reached.
enum Reached<'a> {
    /// In the environment that this router gives its instances.
    Directly(&'a Server, &'a Router),
    Through(&'a Router, &'a str),
}

/// A real client, in one of its modes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Client {
    /// PyPI `mcp` as it comes: it tries the modern era first.
    Python,
    /// PyPI `mcp`, made to speak the era that begins with `initialize`.
    PythonLegacy,
    /// npm `@modelcontextprotocol/sdk`.
    Node,
}

impl Client {
    /// The client that gets the expected answers from the server itself: in the era that the router serves.
    fn directly(self) -> Self {
        match self {
            Self::Python => Self::PythonLegacy,
            other => other,
        }
    }

    fn command(self) -> Command {
        let clients = peers::tests().join("clients");
        match self {
            Self::Python | Self::PythonLegacy => {
                let mut command = Command::new(peers::python());
                command.arg(clients.join("client.py"));
                let mode = if self == Self::Python {
                    "auto"
                } else {
                    "legacy"
                };
                command.args(["--mode", mode]);
                command
            }
            Self::Node => {
                let mut command = Command::new(peers::node());
                command
                    .arg(clients.join("client.mjs"))
                    .arg("--sdk")
                    .arg(peers::node_folder());
                command
            }
        }
    }

    async fn run(self, table: &str, project: &Path, reached: Reached<'_>) -> Value {
        let mut command = self.command();
        command.args([
            "--server",
            table,
            "--set",
            &format!("project={}", project.display()),
        ]);
        let router = match reached {
            Reached::Directly(server, router) => {
                command.arg("--").arg(&server.command).args(&server.args);
                router
            }
            Reached::Through(router, id) => {
                command.args(["--url", &router.mcp_url(id)]);
                router
            }
        };
        // What servers look at in their environment is the same as beneath a router: by name, and but for two by value.
        command.env_clear().envs(router.environment());
        for (name, value) in [
            ("VERSION_ID", table),
            ("MCP_INSTANCE_MODE", "1"),
            ("SOCKET_PATH", "none"),
            ("GODOT_MCP_SHIM", "none"),
        ] {
            command.env(name, value);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(RUN_WITHIN, command.output()).await;
        let output = output
            .unwrap_or_else(|_| panic!("{self:?} with {table}: not done after {RUN_WITHIN:?}"))
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{self:?} with {table}: {}\n{errors}",
            output.status
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn table(server: &str) -> Value {
    let path = peers::tests().join("clients/calls.json");
    let text = std::fs::read_to_string(path).unwrap();
    let mut all: Value = serde_json::from_str(&text).unwrap();
    all[server].take()
}

/// Blots out one member. Behind a `#` the pointer goes on inside a text that is JSON itself; behind an `@` stands the phrase up to
/// which a text is steady.
fn blot(value: &mut Value, pointer: &str) {
    if let Some((outer, inner)) = pointer.split_once('#') {
        let Some(found) = value.pointer_mut(outer) else {
            return;
        };
        // It is read once, and stays what it was read to.
        if let Some(read) = found
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok())
        {
            *found = read;
        }
        return blot(found, inner);
    }
    let (pointer, phrase) = pointer.split_once('@').unwrap_or((pointer, ""));
    let Some(found) = value.pointer_mut(pointer) else {
        return;
    };
    let text = found.as_str().unwrap_or_default();
    let steady = text
        .find(phrase)
        .map_or("", |at| &text[..at + phrase.len()]);
    *found = Value::from(format!("{steady}(volatile)"));
}

/// Blots out what may differ between two runs.
fn steady(mut printed: Value, volatile: &Value) -> Value {
    for call in printed["calls"].as_array_mut().unwrap() {
        let tool = call["tool"].as_str().unwrap().to_owned();
        for pointer in volatile[&tool].as_array().into_iter().flatten() {
            let pointer = pointer.as_str().unwrap();
            blot(call, pointer);
        }
    }
    printed
}

fn names(values: &Value, member: &str) -> BTreeSet<String> {
    let values = values.as_array().unwrap_or_else(|| panic!("{values}"));
    values
        .iter()
        .map(|value| value[member].as_str().unwrap().to_owned())
        .collect()
}

/// How many requests were refused because they spoke of a protocol version that is not served (-32022), by the router's own log.
fn refused_as_modern(router: &Router) -> usize {
    let log = router.log();
    let refused = log.lines().filter(|line| {
        line.contains("VALIDATION") && line.contains("Unsupported protocol version")
    });
    refused.count()
}

/// The same calls, directly and through a router, by one client.
async fn check(server: Server, fixture: Option<&str>, client: Client) {
    let name = server.id.clone();
    let table = table(&name);
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("project");
    let fresh = || {
        if let Some(fixture) = fixture {
            peers::copy_project(fixture, &project);
        }
    };
    fresh();
    // A locale, since Python sets one for its children where there is none.
    let locale = [("LANG", "C.UTF-8")];
    // And time to start: Python and Node.js take seconds to load on a machine that does other things as well.
    let config = Config::new()
        .set("instances", "spawn_timeout = \"1m\"")
        .set("instances", "socket_timeout = \"1m\"")
        .server(server.clone());
    let router = Router::start_with(&config, &locale).await;
    let expected = client
        .directly()
        .run(&name, &project, Reached::Directly(&server, &router))
        .await;
    fresh();
    let refused = refused_as_modern(&router);
    let got = client
        .run(&name, &project, Reached::Through(&router, &name))
        .await;
    let refused = refused_as_modern(&router) - refused;
    let expected_refusals = usize::from(client == Client::Python);
    assert_eq!(
        refused,
        expected_refusals,
        "{name}, {client:?}: requests of the modern era that were refused\n{}",
        router.tail()
    );
    assert_eq!(
        names(&expected["tools"], "name"),
        names(&table["calls"], "tool"),
        "{name}: the server's tools (left) and those of tests/clients/calls.json (right)"
    );
    let expected = steady(expected, &table["volatile"]);
    let got = steady(got, &table["volatile"]);
    for member in ["protocol", "serverInfo", "tools"] {
        assert_eq!(
            expected[member], got[member],
            "{name}, {client:?}: {member}"
        );
    }
    let pairs = expected["calls"]
        .as_array()
        .unwrap()
        .iter()
        .zip(got["calls"].as_array().unwrap());
    for (expected, got) in pairs {
        assert_eq!(
            expected,
            got,
            "{name}, {client:?}: directly (left), through the router (right)\n{}",
            router.tail()
        );
    }
    assert_eq!(expected, got, "{name}, {client:?}");
    let one = router.instance(&name).await;
    assert_eq!(one["restarts"], 0, "{one}");
    assert_eq!(
        one["circuitBreakerState"], "CLOSED",
        "a tool's own error is none of the instance: {one}"
    );
    router.end().await;
}

async fn everything(client: Client) {
    check(peers::everything(), None, client).await;
}

async fn time(client: Client) {
    check(peers::time(), None, client).await;
}

async fn godot_runtime(client: Client) {
    check(peers::godot_runtime(), Some("demo"), client).await;
}

async fn bundled(client: Client) {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("demo");
    peers::copy_project("demo", &project);
    check(peers::bundled(&project), None, client).await;
}

/// Each server by each client, in tests of their own: the servers sleep in some of their tools.
macro_rules! answers_the_same_through_the_router {
    ($($server:ident),*) => {$(
        mod $server {
            use super::Client;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn to_python() {
                super::$server(Client::Python).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn to_python_of_the_era_that_begins_with_initialize() {
                super::$server(Client::PythonLegacy).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn to_node() {
                super::$server(Client::Node).await;
            }
        }
    )*};
}

answers_the_same_through_the_router!(everything, time, godot_runtime, bundled);
