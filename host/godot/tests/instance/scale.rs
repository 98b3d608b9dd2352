//! A project of two thousand files: exact totals, complete pages. No time is asserted.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::client::{Client, Project};

const LEVELS: usize = 500;

fn generated() -> Project {
    let project = Project::with(&[("base/actor.gd", "class_name Actor\nextends Node2D\n")]);
    for index in 0..LEVELS {
        let folder = format!("levels/world{}", index % 20);
        let next = (index + 1) % LEVELS;
        project.write(
            &format!("{folder}/level{index}.gd"),
            format!("class_name Level{index}\nextends Actor\n\nfunc next() -> PackedScene:\n\treturn load(\"res://levels/world{}/level{next}.tscn\")\n", next % 20),
        );
        project.write(
            &format!("{folder}/level{index}.tscn"),
            format!(
                "[gd_scene load_steps=3 format=3 uid=\"uid://level{index}\"]\n\n[ext_resource type=\"Script\" path=\"res://{folder}/level{index}.gd\" id=\"1\"]\n[ext_resource type=\"Resource\" path=\"res://{folder}/data{index}.tres\" id=\"2\"]\n\n[node name=\"Level{index}\" type=\"Node2D\"]\nscript = ExtResource(\"1\")\ndata = ExtResource(\"2\")\n\n[node name=\"Spawn\" type=\"Marker2D\" parent=\".\" groups=[\"spawns\"]]\n"
            ),
        );
        project.write(
            &format!("{folder}/data{index}.tres"),
            format!("[gd_resource type=\"Resource\" format=3]\n\n[resource]\nvalue = {index}\n"),
        );
        project.write(&format!("art/sprite{index}.png"), "not an image");
    }
    project
}

#[tokio::test]
async fn two_thousand_files_are_counted_and_paged_exactly() {
    let project = generated();
    let client = Client::of(&project.root()).await;
    let overview = client.ask("get_project", json!({})).await;
    assert_eq!(
        overview["files"],
        json!({"asset": LEVELS, "resource": LEVELS, "scene": LEVELS, "script": LEVELS + 1})
    );
    assert_eq!(overview["sceneNodes"], 2 * LEVELS);
    assert_eq!(overview["classes"]["total"], LEVELS + 1);
    assert_eq!(overview["missingReferences"], 0);
    assert_eq!(overview["faults"]["total"], 0);

    let mut nodes = BTreeSet::new();
    let mut edges = 0;
    let mut offset = json!(0);
    loop {
        let page = client
            .ask(
                "get_dependency_graph",
                json!({"offset": offset, "limit": 1000}),
            )
            .await;
        for node in page["nodes"].as_array().unwrap() {
            assert!(
                nodes.insert(node["id"].as_str().unwrap().to_owned()),
                "{node} came twice"
            );
        }
        edges += page["edges"].as_array().unwrap().len();
        assert_eq!(page["cycles"]["total"], 0, "load() makes no cycle");
        match page.get("nextOffset") {
            Some(next) => offset = next.clone(),
            None => break,
        }
    }
    assert_eq!(nodes.len(), 4 * LEVELS + 2);
    // Per level: scene to script and data, script to base and to the next scene.
    assert_eq!(edges, 4 * LEVELS);

    let spawns = client
        .ask("search_nodes", json!({"group": "spawns", "limit": 1}))
        .await;
    assert_eq!(spawns["total"], LEVELS);
    let actors = client
        .ask(
            "search_nodes",
            json!({"type": "Actor", "kinds": ["node"], "limit": 1}),
        )
        .await;
    assert_eq!(actors["total"], LEVELS);
    let dependents = json!({"node": "Actor", "direction": "dependents", "depth": 2, "limit": 1000});
    let actor = client.ask("get_node_dependencies", dependents).await;
    assert_eq!(actor["dependents"]["total"], 2 * LEVELS);
    let level = json!({"node": "uid://level7", "depth": 32, "limit": 10});
    let level = client.ask("get_node_dependencies", level).await;
    let depths = level["dependencies"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| &edge["depth"]);
    let depths: Vec<&Value> = depths.collect();
    assert!(
        depths.is_sorted_by_key(|depth| depth.as_u64()),
        "{depths:?}"
    );
    client.finish().await;
}

#[tokio::test]
async fn a_change_among_two_thousand_files_is_seen() {
    let project = generated();
    let client = Client::of(&project.root()).await;
    client.ask("get_project", json!({})).await;
    project.write(
        "levels/world3/level3.gd",
        "class_name Renamed\nextends Actor\n",
    );
    let found = client
        .ask(
            "search_nodes",
            json!({"query": "renamed", "kinds": ["script"]}),
        )
        .await;
    assert_eq!(found["total"], 1);
    let renamed = client
        .ask("get_node_dependencies", json!({"node": "Renamed"}))
        .await;
    assert_eq!(renamed["node"], "res://levels/world3/level3.gd");
    let overview = client.ask("get_project", json!({})).await;
    assert_eq!(overview["classes"]["total"], LEVELS + 1);
    client.finish().await;
}
