//! The index follows the folder: every change made before a call shows in its answer.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::client::{Client, Project};

fn paths(found: &Value) -> Vec<&str> {
    let items = found["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap())
        .collect()
}

async fn scripts(client: &Client) -> Value {
    client
        .ask("search_nodes", json!({"kinds": ["script"]}))
        .await
}

#[tokio::test]
async fn files_that_come_and_go_are_seen() {
    let project = Project::with(&[("a.gd", "class_name A\nextends Node\n")]);
    let client = Client::of(&project.root()).await;
    assert_eq!(paths(&scripts(&client).await), ["res://a.gd"]);
    project.write("deep/er/b.gd", "extends A\n");
    assert_eq!(
        paths(&scripts(&client).await),
        ["res://a.gd", "res://deep/er/b.gd"]
    );
    let b = client
        .ask("get_node_dependencies", json!({"node": "deep/er/b.gd"}))
        .await;
    assert_eq!(b["dependencies"]["items"][0]["to"], "res://a.gd");
    project.remove("a.gd");
    assert_eq!(paths(&scripts(&client).await), ["res://deep/er/b.gd"]);
    let b = client
        .ask("get_node_dependencies", json!({"node": "deep/er/b.gd"}))
        .await;
    assert_eq!(b["dependencies"]["total"], 0);
    client.finish().await;
}

#[tokio::test]
async fn a_rewrite_of_the_same_length_is_seen_at_once_and_later() {
    let project = Project::with(&[("a.gd", "class_name A0\n")]);
    let client = Client::of(&project.root()).await;
    for round in 0..40 {
        let name = format!("A{}", round % 10);
        project.write("a.gd", format!("class_name {name}\n"));
        let found = scripts(&client).await;
        assert_eq!(found["items"][0]["className"], name, "round {round}");
    }
    client.finish().await;
}

#[tokio::test]
async fn a_broken_file_is_reported_until_it_is_mended() {
    let good = "[gd_scene format=3]\n\n[node name=\"A\" type=\"Node\"]\n";
    let project = Project::with(&[("a.tscn", good)]);
    let client = Client::of(&project.root()).await;
    let faults = async || client.ask("get_project", json!({})).await["faults"].clone();
    assert_eq!(faults().await["total"], 0);
    project.write("a.tscn", format!("{good}position = Vector2(1,\n"));
    let broken = faults().await;
    assert_eq!(broken["total"], 1);
    assert_eq!(broken["items"][0]["path"], "res://a.tscn");
    assert_eq!(broken["items"][0]["line"], 4);
    project.write("a.tscn", good);
    assert_eq!(faults().await["total"], 0);
    client.finish().await;
}

#[tokio::test]
async fn a_moved_file_is_found_by_its_uid() {
    let scene = "[gd_scene format=3]\n\n[ext_resource type=\"Script\" uid=\"uid://moved\" path=\"res://old.gd\" id=\"1\"]\n\n[node name=\"A\" type=\"Node\"]\nscript = ExtResource(\"1\")\n";
    let project = Project::with(&[
        ("a.tscn", scene),
        ("old.gd", "extends Node\n"),
        ("old.gd.uid", "uid://moved\n"),
    ]);
    let client = Client::of(&project.root()).await;
    let script = async || {
        let scene = client
            .ask("get_node_dependencies", json!({"node": "res://a.tscn"}))
            .await;
        scene["dependencies"]["items"][0]["to"].clone()
    };
    assert_eq!(script().await, "res://old.gd");
    project.remove("old.gd");
    project.remove("old.gd.uid");
    project.write("new/place.gd", "extends Node\n");
    project.write("new/place.gd.uid", "uid://moved\n");
    assert_eq!(script().await, "res://new/place.gd");
    client.finish().await;
}

#[tokio::test]
async fn a_project_file_that_vanishes_leaves_the_rest_served() {
    let project = Project::with(&[("a.gd", "extends Node\n")]);
    let client = Client::of(&project.root()).await;
    project.remove("project.godot");
    let overview = client.ask("get_project", json!({})).await;
    assert!(overview.get("name").is_none());
    assert_eq!(overview["files"]["script"], 1);
    project.write("project.godot", "config_version=4\n");
    assert_eq!(client.ask("get_project", json!({})).await["engineMajor"], 3);
    client.finish().await;
}

#[tokio::test]
async fn a_folder_that_vanishes_is_said_and_may_come_back() {
    let project = Project::with(&[("a.gd", "extends Node\n")]);
    let client = Client::of(&project.root()).await;
    let away = project.outside().join("away");
    std::fs::rename(project.root(), &away).unwrap();
    let refusal = client.refusal("get_project", json!({})).await;
    assert!(refusal.contains("cannot be listed any more"), "{refusal}");
    client.ask("ping", json!({})).await;
    std::fs::rename(&away, project.root()).unwrap();
    assert_eq!(
        client.ask("get_project", json!({})).await["files"]["script"],
        1
    );
    client.finish().await;
}

#[tokio::test]
async fn many_callers_at_once_all_see_a_change_made_before_they_asked() {
    let project = Project::with(&[("a.gd", "extends Node\n")]);
    let client = Client::of(&project.root()).await;
    for round in 1..=5 {
        project.write(&format!("n{round}.gd"), "extends Node\n");
        let asked: Vec<_> = (0..32).map(|_| scripts(&client)).collect();
        let mut total = 0;
        for answer in join_all(asked).await {
            assert_eq!(answer["total"], round + 1);
            total += 1;
        }
        assert_eq!(total, 32);
    }
    client.finish().await;
}
