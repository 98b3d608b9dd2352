//! The wire: versions, lines that are no requests, ends of file, schemas. Spoken as raw lines where a
//! client library would not send such messages.

use std::time::Duration;

use router_godot::{GodotServer, InstanceOptions, ServeError, serve};
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf, WriteHalf,
};
use tokio::task::JoinHandle;

use crate::client::{Client, Project, fixture};

/// Long enough for any machine; a test that waits for it has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// A connection that speaks lines.
struct Wire {
    writer: WriteHalf<DuplexStream>,
    reader: BufReader<ReadHalf<DuplexStream>>,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Wire {
    fn to_demo() -> Self {
        let server = GodotServer::open(&fixture("demo"), InstanceOptions::default()).unwrap();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (reader, writer) = tokio::io::split(theirs);
        let serving = tokio::spawn(serve(server, reader, writer));
        let (reader, writer) = tokio::io::split(ours);
        Self {
            writer,
            reader: BufReader::new(reader),
            serving,
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).await.unwrap();
        self.writer.write_all(b"\n").await.unwrap();
    }

    async fn line(&mut self) -> Value {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line);
        tokio::time::timeout(DEADLINE, read)
            .await
            .expect("an answer in time")
            .unwrap();
        serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("not a line of JSON: {line:?}: {error}"))
    }

    async fn ask(&mut self, request: Value) -> Value {
        self.send(request.to_string().as_bytes()).await;
        let answer = self.line().await;
        assert_eq!(answer["id"], request["id"], "{answer}");
        assert_eq!(answer["jsonrpc"], "2.0");
        answer
    }

    async fn initialize(&mut self, version: &str) -> Value {
        let params = json!({
            "protocolVersion": version,
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "0"},
        });
        self.ask(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}))
            .await
    }

    async fn ready() -> Self {
        let mut wire = Self::to_demo();
        wire.initialize("2025-11-25").await;
        wire.send(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
            .await;
        wire
    }

    async fn ping(&mut self, id: u32) {
        let answer = self
            .ask(json!({"jsonrpc": "2.0", "id": id, "method": "ping"}))
            .await;
        assert_eq!(answer["result"], json!({}));
    }

    /// Ends the input; nothing may follow but the end of the output, and serving must end well.
    async fn hang_up(mut self) {
        self.writer.shutdown().await.unwrap();
        let mut rest = String::new();
        let read = self.reader.read_line(&mut rest);
        tokio::time::timeout(DEADLINE, read)
            .await
            .expect("the end in time")
            .unwrap();
        assert_eq!(rest, "");
        self.serving.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn each_version_with_a_handshake_is_agreed_to_and_others_get_the_newest() {
    let versions = [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ];
    for (asked, agreed) in versions {
        let mut wire = Wire::to_demo();
        let answer = wire.initialize(asked).await;
        assert_eq!(
            answer["result"]["protocolVersion"], agreed,
            "asked for {asked}"
        );
        assert_eq!(
            answer["result"]["serverInfo"]["name"],
            "godot-mcp-router-instance"
        );
        assert_eq!(
            answer["result"]["capabilities"],
            json!({"tools": {}, "resources": {}})
        );
        let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
            "params": {"name": "get_project", "arguments": {}}});
        let answer = wire.ask(call).await;
        assert_eq!(
            answer["result"]["structuredContent"]["name"],
            "Lantern Keeper"
        );
        assert!(
            answer["result"].get("resultType").is_none(),
            "a method of a later era"
        );
        wire.hang_up().await;
    }
}

#[tokio::test]
async fn a_client_of_the_modern_era_gets_the_versions_and_can_fall_back() {
    let mut wire = Wire::to_demo();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let discover =
        json!({"jsonrpc": "2.0", "id": 7, "method": "server/discover", "params": {"_meta": meta}});
    let answer = wire.ask(discover).await;
    assert_eq!(answer["error"]["code"], -32022, "{answer}");
    assert_eq!(
        answer["error"]["data"]["supported"],
        json!(["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
    );
    let answer = wire.initialize("2025-11-25").await;
    assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
    wire.hang_up().await;
}

#[tokio::test]
async fn the_end_of_input_ends_serving_well_at_any_time() {
    Wire::to_demo().hang_up().await;
    Wire::ready().await.hang_up().await;
    let mut half = Wire::ready().await;
    half.writer
        .write_all(br#"{"jsonrpc":"2.0","id":5,"meth"#)
        .await
        .unwrap();
    half.hang_up().await;
}

#[tokio::test]
async fn an_answer_under_way_is_still_sent_when_the_input_ends() {
    let mut wire = Wire::ready().await;
    let call = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call",
        "params": {"name": "get_dependency_graph", "arguments": {}}});
    wire.send(call.to_string().as_bytes()).await;
    wire.writer.shutdown().await.unwrap();
    let answer = wire.line().await;
    assert_eq!(answer["id"], 9);
    assert!(
        answer["result"]["structuredContent"]["total"]
            .as_u64()
            .unwrap()
            > 20
    );
}

#[tokio::test]
async fn lines_that_are_no_requests_disturb_nothing() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":3,"method":"ping","params":{{"x":"{}"}}}}"#,
        "x".repeat(2_000_000)
    );
    let lines: [&[u8]; 9] = [
        b"",
        b"   ",
        b"this is not JSON",
        br#"{"jsonrpc":"2.0","id":4,"meth"#,
        b"\xff\xfe\xfd",
        deep.as_bytes(),
        long.as_bytes(),
        br#"{"jsonrpc":"2.0","id":77,"result":{}}"#,
        br#"{"jsonrpc":"2.0","method":"notifications/whatever"}"#,
    ];
    let mut wire = Wire::ready().await;
    for (index, line) in lines.into_iter().enumerate() {
        wire.send(line).await;
        wire.ping(100 + u32::try_from(index).unwrap()).await;
    }
    wire.hang_up().await;
}

#[tokio::test]
async fn unknown_methods_tools_and_arguments_are_named() {
    let mut wire = Wire::ready().await;
    let answer = wire
        .ask(json!({"jsonrpc": "2.0", "id": 2, "method": "no/such", "params": {}}))
        .await;
    assert_eq!(answer["error"]["code"], -32601);
    let call = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "trigger_build"}});
    let answer = wire.ask(call).await;
    assert_eq!(answer["error"]["code"], -32602);
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("trigger_build") && message.contains("search_nodes"),
        "{message}"
    );
    wire.hang_up().await;

    let client = Client::of(&fixture("demo")).await;
    let refusal = client
        .refusal("search_nodes", json!({"pattern": "x"}))
        .await;
    assert!(
        refusal.contains("pattern") && refusal.contains("query"),
        "{refusal}"
    );
    let refusal = client.refusal("get_script_content", json!({})).await;
    assert!(refusal.contains("path"), "{refusal}");
    let refusal = client
        .refusal("get_script_content", json!({"path": "Nobody"}))
        .await;
    assert!(
        refusal.contains("nothing in the project is called `Nobody`"),
        "{refusal}"
    );
    let refusal = client
        .refusal("get_script_content", json!({"path": "ui/hud.tscn"}))
        .await;
    assert_eq!(refusal, "res://ui/hud.tscn is not a script or shader");
    let nulls = json!({"query": null, "kinds": null, "offset": null, "includeAddons": null});
    client.ask("search_nodes", nulls).await;
    let refusal = client
        .refusal("get_node_dependencies", json!({"node": "Sprite2D"}))
        .await;
    assert!(
        refusal.starts_with("4 nodes are called `Sprite2D`"),
        "{refusal}"
    );
    assert!(
        refusal.contains("res://actors/enemies/enemy.tscn#Sprite2D"),
        "{refusal}"
    );
    let hop = client
        .ask("get_node_dependencies", json!({"node": "HopTimer"}))
        .await;
    assert_eq!(hop["node"], "res://actors/enemies/slime.tscn#HopTimer");
    let refusal = client
        .refusal("search_nodes", json!({"limit": "many"}))
        .await;
    assert!(refusal.contains("many"), "{refusal}");
    client.finish().await;
}

#[tokio::test]
async fn the_tools_are_listed_with_complete_strict_schemas() {
    let client = Client::of(&fixture("demo")).await;
    let tools = client.service.list_all_tools().await.unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    let expected = [
        "get_dependency_graph",
        "get_node_dependencies",
        "get_project",
        "get_script_content",
        "ping",
        "search_nodes",
    ];
    assert_eq!(names, expected);
    for tool in &tools {
        let name = &tool.name;
        assert!(tool.description.as_ref().unwrap().len() > 40, "{name}");
        assert!(tool.title.is_some(), "{name}");
        let annotations = tool.annotations.as_ref().unwrap();
        assert_eq!(annotations.read_only_hint, Some(true), "{name}");
        assert_eq!(annotations.open_world_hint, Some(false), "{name}");
        let input = tool.schema_as_json_value();
        assert_eq!(input["type"], "object", "{name}");
        assert_eq!(input["additionalProperties"], false, "{name}");
        for (argument, schema) in input["properties"].as_object().unwrap() {
            assert!(
                schema["description"].is_string(),
                "{name}.{argument}: {schema}"
            );
        }
        let output = Value::Object(tool.output_schema.as_ref().unwrap().as_ref().clone());
        assert_eq!(output["type"], "object", "{name}");
        let whole = format!("{input}{output}");
        assert!(!whole.contains("\"format\":\"uint"), "{name}: {whole}");
    }
    client.finish().await;
}

#[tokio::test]
async fn the_version_that_is_served_is_shown_and_checked() {
    let options = InstanceOptions {
        version_id: Some("42".to_owned()),
        ..InstanceOptions::default()
    };
    let client = Client::with(&fixture("demo"), options).await;
    let ping = client.ask("ping", json!({})).await;
    assert_eq!(ping["status"], "ok");
    assert_eq!(ping["versionId"], "42");
    assert_eq!(ping["pid"], std::process::id());
    for same in [json!("42"), json!(42), json!(null)] {
        let project = client.ask("get_project", json!({"versionId": same})).await;
        assert_eq!(project["versionId"], "42");
    }
    let refusal = client
        .refusal("get_project", json!({"versionId": 41}))
        .await;
    assert_eq!(refusal, "this instance serves version 42, not 41");
    client.finish().await;

    let client = Client::of(&fixture("demo")).await;
    let ping = client.ask("ping", json!({"versionId": "anything"})).await;
    assert!(ping.get("versionId").is_none());
    client.finish().await;
}

#[tokio::test]
async fn resources_are_listed_in_pages_and_read() {
    use rmcp::model::{ReadResourceRequestParams, ResourceContents};
    let project = Project::with(&[("a b/ü.gd", "extends Node\n")]);
    for index in 0..450 {
        project.write(&format!("scripts/s{index:03}.gd"), "extends Node\n");
    }
    let client = Client::of(&project.root()).await;
    let resources = client.service.list_all_resources().await.unwrap();
    assert_eq!(resources.len(), 452);
    assert_eq!(resources[0].uri, "godot://project");
    assert_eq!(resources[1].uri, "godot://script/a%20b/%C3%BC.gd");
    let read = async |uri: &str| {
        let answer = client
            .service
            .read_resource(ReadResourceRequestParams::new(uri))
            .await;
        answer.map(|result| match &result.contents[..] {
            [ResourceContents::TextResourceContents { text, .. }] => text.clone(),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(read(&resources[1].uri).await.unwrap(), "extends Node\n");
    let overview: Value = serde_json::from_str(&read("godot://project").await.unwrap()).unwrap();
    assert_eq!(overview["files"]["script"], 451);
    let wrong = [
        "godot://script/none.gd",
        "godot://script/../secret.gd",
        "godot://script/%2e%2e/secret.gd",
        "godot://script//etc/passwd",
        "godot://script/project.godot",
        "godot://script/%ff",
        "file:///etc/passwd",
        "",
    ];
    for uri in wrong {
        let error = read(uri).await.unwrap_err().to_string();
        assert!(error.contains("-32002"), "{uri}: {error}");
    }
    let templates = client.service.list_all_resource_templates().await.unwrap();
    assert_eq!(templates[0].uri_template, "godot://script/{+path}");
    client.finish().await;
}
