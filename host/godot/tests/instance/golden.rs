//! The answer of every tool on every fixture, compared with the one that was checked in.
//!
//! `UPDATE_GOLDEN=1` writes the answers instead; read the difference before committing it.

use std::path::Path;

use serde_json::{Value, json};

use crate::client::{Client, fixture};

/// Calls per fixture: the name of the golden file, the tool, its arguments.
fn calls(project: &str) -> Vec<(&'static str, &'static str, Value)> {
    let mut calls = vec![
        ("project", "get_project", json!({})),
        (
            "files",
            "search_nodes",
            json!({"kinds": ["scene", "script", "shader", "resource", "plugin", "asset"]}),
        ),
        (
            "nodes",
            "search_nodes",
            json!({"kinds": ["node"], "includeProperties": true}),
        ),
        ("graph", "get_dependency_graph", json!({})),
    ];
    calls.extend(match project {
        "demo" => vec![
            ("display_settings", "get_project", json!({"settingsPrefix": "display/"})),
            ("enemies", "search_nodes", json!({"type": "Enemy"})),
            ("lamps", "search_nodes", json!({"group": "lamps"})),
            ("slime_terms", "search_nodes", json!({"query": "slime timer", "within": "res://actors"})),
            ("addons", "search_nodes", json!({"within": "res://addons", "includeAddons": true})),
            ("player_script", "get_node_dependencies", json!({"node": "res://actors/player/player.gd", "depth": 3})),
            ("player_class", "get_node_dependencies", json!({"node": "Player", "direction": "dependents"})),
            ("main_by_uid", "get_node_dependencies", json!({"node": "uid://c8lantern0main"})),
            ("player_node", "get_node_dependencies", json!({"node": "res://levels/main.tscn#Player", "depth": 2})),
            ("sprite_node", "get_node_dependencies", json!({"node": "res://actors/player/player.tscn#Sprite2D"})),
            ("autoload", "get_node_dependencies", json!({"node": "GameState", "direction": "dependents"})),
            ("slime_graph", "get_dependency_graph", json!({"root": "res://actors/enemies/slime.tscn", "maxDepth": 2, "includeAssets": false})),
            ("main_source", "get_script_content", json!({"path": "res://levels/main.gd"})),
            ("player_source", "get_script_content", json!({"path": "Player", "startLine": 20, "maxLines": 8})),
            ("bat_source", "get_script_content", json!({"path": "res://actors/enemies/bat.tscn::GDScript_bat"})),
            ("shader_source", "get_script_content", json!({"path": "shaders/glow.gdshader"})),
        ],
        "demo3" => vec![
            ("walker", "get_node_dependencies", json!({"node": "Walker"})),
            ("walker_source", "get_script_content", json!({"path": "Walker"})),
            ("world", "get_node_dependencies", json!({"node": "res://world/World.tscn", "depth": 4})),
        ],
        _ => vec![
            ("cycle", "get_node_dependencies", json!({"node": "res://scenes/cycle_a.tscn"})),
            ("good", "get_node_dependencies", json!({"node": "res://scenes/good.tscn"})),
            ("lamp_source", "get_script_content", json!({"path": "res://scripts/lamp.gd"})),
            ("latin1_source", "get_script_content", json!({"path": "res://scripts/latin1.gd"})),
            ("empty_source", "get_script_content", json!({"path": "res://scripts/empty.gd"})),
        ],
    });
    calls
}

async fn check(project: &str) {
    let client = Client::of(&fixture(project)).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(project);
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for (name, tool, arguments) in calls(project) {
        let answer = client.ask(tool, arguments.clone()).await;
        let path = folder.join(format!("{name}.json"));
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            let text = serde_json::to_string_pretty(&answer).unwrap();
            std::fs::write(&path, text + "\n").unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("{}: {error}; see the head of this file", path.display())
        });
        let golden: Value = serde_json::from_str(&golden).unwrap();
        assert_eq!(
            answer,
            golden,
            "{project}: {tool} {arguments}, kept in {}",
            path.display()
        );
    }
    client.finish().await;
}

#[tokio::test]
async fn a_godot_4_project_is_described_as_recorded() {
    check("demo").await;
}

#[tokio::test]
async fn a_godot_3_project_is_described_as_recorded() {
    check("demo3").await;
}

#[tokio::test]
async fn a_broken_project_is_described_as_recorded() {
    check("broken").await;
}
