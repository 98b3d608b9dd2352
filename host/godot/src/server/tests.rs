//! Turns and places: what is bounded stays bounded, and `ping` needs neither.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{CallToolRequestParams, CallToolResult, ClientConfig};
use rmcp::service::RunningService;
use rmcp::{RoleClient, ServiceExt as _};

use super::{GodotServer, InstanceOptions, WAITING_MAX, WORKING_MAX, serve};

/// Long enough for any machine; a test that waits for it has failed.
const DEADLINE: Duration = Duration::from_secs(30);

type Client = Arc<RunningService<RoleClient, ClientConfig>>;

async fn client_of(server: &GodotServer) -> Client {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(theirs);
    tokio::spawn(serve(server.clone(), reader, writer));
    Arc::new(ClientConfig::default().serve(ours).await.unwrap())
}

async fn call(client: Client, tool: &'static str) -> CallToolResult {
    let answer = client.call_tool(CallToolRequestParams::new(tool));
    tokio::time::timeout(DEADLINE, answer)
        .await
        .expect("an answer in time")
        .unwrap()
}

fn project() -> (tempfile::TempDir, GodotServer) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("project.godot"), "config_version=5\n").unwrap();
    let server = GodotServer::open(folder.path(), InstanceOptions::default()).unwrap();
    (folder, server)
}

#[tokio::test]
async fn ping_and_lists_are_answered_while_every_place_is_taken() {
    let (_folder, server) = project();
    let client = client_of(&server).await;
    let places = u32::try_from(WORKING_MAX).unwrap();
    let taken = server
        .shared
        .working
        .clone()
        .acquire_many_owned(places)
        .await
        .unwrap();
    let waiting = tokio::spawn(call(client.clone(), "get_project"));
    assert_eq!(call(client.clone(), "ping").await.is_error, Some(false));
    assert_eq!(client.list_all_tools().await.unwrap().len(), 6);
    assert!(!waiting.is_finished());
    drop(taken);
    assert_eq!(waiting.await.unwrap().is_error, Some(false));
}

#[tokio::test]
async fn more_questions_than_may_wait_are_turned_away() {
    let (_folder, server) = project();
    let client = client_of(&server).await;
    let places = u32::try_from(WORKING_MAX).unwrap();
    let taken = server
        .shared
        .working
        .clone()
        .acquire_many_owned(places)
        .await
        .unwrap();
    let asked: Vec<_> = (0..WAITING_MAX)
        .map(|_| tokio::spawn(call(client.clone(), "get_project")))
        .collect();
    let all_wait = async {
        while server.shared.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, all_wait)
        .await
        .expect("they wait in time");
    let turned_away = call(client.clone(), "get_project").await;
    assert_eq!(turned_away.is_error, Some(true));
    assert!(
        turned_away.content[0]
            .as_text()
            .unwrap()
            .text
            .starts_with("busy: ")
    );
    drop(taken);
    for answer in asked {
        assert_eq!(answer.await.unwrap().is_error, Some(false));
    }
    assert_eq!(server.shared.waiting.available_permits(), WAITING_MAX);
}

#[tokio::test]
async fn a_panic_costs_one_answer_only() {
    let (_folder, server) = project();
    let outcome = server.on_blocking_thread::<()>(|_| panic!("planted")).await;
    assert!(outcome.unwrap_err().contains("made the instance fail"));
    assert_eq!(server.shared.working.available_permits(), WORKING_MAX);
    let client = client_of(&server).await;
    assert_eq!(call(client, "get_project").await.is_error, Some(false));
}
