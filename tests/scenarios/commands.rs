//! The operators' commands beside a hostile world: what instances write, what the environment says, and what is typed.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use router_tests::{Config, Router, Server, peers, shell, until};
use tokio::net::TcpListener;

const SOON: Duration = Duration::from_secs(30);

/// Sets the title of a terminal, clears it, and asks it for an answer.
const HOSTILE: &str = r"\033]0;owned\007\033[2J\302\2336n\r";

/// A server that writes that to stderr first.
fn hostile() -> Server {
    let server = peers::program("scripted-server").display().to_string();
    let script = format!("printf '{HOSTILE}hostile words\\n' >&2; exec {server}");
    Server::new("hostile", "sh", ["-c".to_owned(), script])
}

async fn router() -> Router {
    let config = Config::new()
        .server(hostile().autostart())
        .server(peers::echo().autostart());
    let router = Router::start(&config).await;
    router.ready("hostile").await;
    router.ready("echo").await;
    router
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_instances_write_does_nothing_at_a_terminal() {
    let router = router().await;
    for command in [
        "godot-mcp-router instances logs hostile",
        "godot-mcp-router instances logs hostile --url localhost:3002",
        "curl -s http://localhost:3002/api/instances/hostile/logs",
    ] {
        let shown = until("its words", SOON, async || {
            let shown = shell::run(&router, command, &[]).await.fine().stdout;
            if shown.contains("hostile words") {
                Ok(shown)
            } else {
                Err(shown)
            }
        })
        .await;
        assert!(shown.contains(r"\u{1b}]0;owned\u{7}"), "{command}: {shown}");
        let acting = shown
            .chars()
            .find(|char| char.is_control() && *char != '\n');
        assert_eq!(acting, None, "{command}: {shown:?}");
    }
    let headers = "curl -s -o /dev/null -D - http://localhost:3002/api/instances/hostile/logs";
    let headers = shell::run(&router, headers, &[]).await.fine().stdout;
    for header in ["x-content-type-options: nosniff", "cache-control: no-store"] {
        assert!(headers.contains(header), "{headers}");
    }
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_goes_to_the_router_alone() {
    let router = router().await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap();
    let file = router.path("token");
    std::fs::write(&file, "a-token-from-a-file\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let script = format!(
        "export http_proxy=http://{address} HTTP_PROXY=http://{address} all_proxy=http://{address} ALL_PROXY=http://{address}\n\
         godot-mcp-router instances list --token-file token 2>&1\n\
         GODOT_MCP_ROUTER_TOKEN=a-token godot-mcp-router instances list 2>&1\n\
         godot-mcp-router instances --token-file nowhere list 2>&1\n\
         godot-mcp-router instances --token a-token list 2>&1"
    );
    let shown = shell::run(&router, &script, &[]).await.stdout;
    // A token that the router does not know is refused: it was sent there, and read without its line end.
    assert_eq!(shown.matches("401 Unauthorized").count(), 2, "{shown}");
    assert!(
        shown.contains("the token's file nowhere is not readable"),
        "{shown}"
    );
    assert!(shown.contains("unexpected argument '--token'"), "{shown}");
    let asked = tokio::time::timeout(Duration::ZERO, proxy.accept()).await;
    assert!(asked.is_err(), "the proxy was asked: {asked:?}");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_typed_names_one_instance_and_nobody_needs_to_read_the_answer() {
    let router = router().await;
    let pid = router.instance("echo").await["pid"].clone();
    for id in ["echo/../echo", "../instances/echo", "echo?", "..", ""] {
        let script = format!("godot-mcp-router instances stop '{id}'");
        let output = shell::run(&router, &script, &[]).await;
        assert_eq!(output.code, 1, "{output:?}");
    }
    let shown = router.instance("echo").await;
    assert_eq!(
        (&shown["lifecycle"], &shown["pid"]),
        (&"ready".into(), &pid)
    );
    for command in [
        "instances list",
        "instances show echo",
        "plugin list",
        "alerts",
    ] {
        let script = format!("godot-mcp-router {command} | true; echo ${{PIPESTATUS[0]}}");
        let output = shell::run(&router, &script, &[]).await;
        // Whether the reader has gone by then is not certain.
        assert!(["0\n", "141\n"].contains(&&*output.stdout), "{output:?}");
        assert_eq!(output.stderr, "", "{command}");
    }
    router.end().await;
}
