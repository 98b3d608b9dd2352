//! Nothing outside the project folder is ever read, whatever way leads there.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::client::{Client, Project};

/// Stands in a file next to the project; no answer may hold it.
const SECRET: &str = "outside_the_project";

fn project() -> Project {
    let project = Project::with(&[
        ("scripts/real.gd", "class_name Real\nextends Node\n"),
        (
            "main.tscn",
            concat!(
                "[gd_scene load_steps=3 format=3]\n\n",
                "[ext_resource type=\"Script\" path=\"res://link.gd\" id=\"1\"]\n",
                "[ext_resource type=\"Script\" path=\"res://linked_folder/real.gd\" id=\"2\"]\n",
                "[ext_resource type=\"Script\" path=\"res://../secret.gd\" id=\"3\"]\n",
                "[ext_resource type=\"Script\" path=\"res://out.gd\" id=\"4\"]\n\n",
                "[node name=\"Main\" type=\"Node\"]\nscript = ExtResource(\"1\")\n\n",
                "[node name=\"Second\" type=\"Node\" parent=\".\"]\nscript = ExtResource(\"2\")\n",
            ),
        ),
        (".git/config.gd", "# token = hidden_in_the_project"),
        (".godot/cache.gd", "# cache"),
    ]);
    let root = project.root();
    std::fs::write(
        project.outside().join("secret.gd"),
        format!("class_name {SECRET}\n"),
    )
    .unwrap();
    symlink("scripts/real.gd", root.join("link.gd")).unwrap();
    symlink("scripts", root.join("linked_folder")).unwrap();
    symlink("../secret.gd", root.join("out.gd")).unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink(".", root.join("here")).unwrap();
    symlink("loop.gd", root.join("loop.gd")).unwrap();
    symlink("nowhere.gd", root.join("dangling.gd")).unwrap();
    symlink("/dev/zero", root.join("zero.gd")).unwrap();
    symlink(".git/config.gd", root.join("to_hidden.gd")).unwrap();
    project
}

#[tokio::test]
async fn paths_that_lead_outside_are_refused() {
    let project = project();
    let client = Client::of(&project.root()).await;
    let absolute = project.outside().join("secret.gd");
    let paths = [
        "../secret.gd",
        "res://../secret.gd",
        "res://scripts/../../secret.gd",
        "scripts/../../secret.gd",
        "res://..\\secret.gd",
        "res://out.gd",
        "res://up/secret.gd",
        "res://here/up/secret.gd",
        "res://zero.gd",
        "/etc/passwd",
        absolute.to_str().unwrap(),
        "file:///etc/passwd",
        "user://secret.gd",
        "res://.git/config.gd",
        "res://.godot/cache.gd",
        "res://to_hidden.gd",
        "res://here/.git/config.gd",
    ];
    for path in paths {
        for (tool, argument) in [
            ("get_script_content", "path"),
            ("get_node_dependencies", "node"),
            ("get_dependency_graph", "root"),
        ] {
            let refusal = client.refusal(tool, json!({argument: path})).await;
            assert!(
                !refusal.contains(SECRET) && !refusal.contains("token"),
                "{tool} {path}: {refusal}"
            );
        }
        let refusal = client
            .refusal("get_script_content", json!({"path": path}))
            .await;
        assert!(refusal.starts_with("refused: "), "{path}: {refusal}");
    }
    let refusal = client
        .refusal("search_nodes", json!({"within": "res://../"}))
        .await;
    assert!(refusal.starts_with("refused: "), "{refusal}");
    client.finish().await;
}

#[tokio::test]
async fn nothing_outside_is_indexed_and_links_out_are_reported() {
    let project = project();
    let client = Client::of(&project.root()).await;
    let overview = client.ask("get_project", json!({})).await;
    let graph = client.ask("get_dependency_graph", json!({})).await;
    let found = client
        .ask("search_nodes", json!({"includeAddons": true, "limit": 500}))
        .await;
    for answer in [&overview, &graph, &found] {
        assert!(!answer.to_string().contains(SECRET), "{answer}");
        assert!(!answer.to_string().contains("cache.gd"), "{answer}");
    }
    let faults = overview["faults"]["items"].as_array().unwrap();
    let of = |path: &str| {
        let fault = faults.iter().find(|fault| fault["path"] == path);
        fault.unwrap_or_else(|| panic!("no fault of {path}: {faults:?}"))["what"].to_string()
    };
    for path in ["res://out.gd", "res://up", "res://zero.gd"] {
        assert!(of(path).contains("outside the project"), "{}", of(path));
    }
    assert!(of("res://dangling.gd").contains("does not exist"));
    assert!(of("res://to_hidden.gd").contains("hidden"));
    of("res://loop.gd");
    client.finish().await;
}

#[tokio::test]
async fn links_inside_the_project_mean_what_they_point_to() {
    let project = project();
    let client = Client::of(&project.root()).await;
    for path in [
        "res://link.gd",
        "res://linked_folder/real.gd",
        "res://here/scripts/real.gd",
    ] {
        let script = client
            .ask("get_script_content", json!({"path": path}))
            .await;
        assert_eq!(script["className"], "Real", "{path}");
    }
    let scene = client
        .ask("get_node_dependencies", json!({"node": "res://main.tscn"}))
        .await;
    let to: Vec<_> = scene["dependencies"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| &edge["to"])
        .collect();
    assert_eq!(to, ["res://scripts/real.gd"], "both links are one file");
    let missing = scene["missing"]["items"].as_array().unwrap();
    let reasons: Vec<_> = missing
        .iter()
        .map(|missing| (&missing["target"], &missing["reason"]))
        .collect();
    assert_eq!(
        reasons,
        [
            (&json!("res://../secret.gd"), &json!("outside_project")),
            (&json!("res://out.gd"), &json!("not_found")),
        ]
    );
    client.finish().await;
}

#[tokio::test]
async fn a_file_swapped_for_a_link_is_not_followed() {
    let project = Project::with(&[("a.gd", "extends Node\n")]);
    let client = Client::of(&project.root()).await;
    client
        .ask("get_script_content", json!({"path": "a.gd"}))
        .await;
    std::fs::write(project.outside().join("secret.gd"), SECRET).unwrap();
    project.remove("a.gd");
    symlink("../secret.gd", project.root().join("a.gd")).unwrap();
    let refusal = client
        .refusal("get_script_content", json!({"path": "a.gd"}))
        .await;
    assert!(refusal.starts_with("refused: "), "{refusal}");
    client.finish().await;
}

#[tokio::test]
async fn what_is_no_part_of_the_project_for_godot_is_none_here() {
    let project = Project::with(&[
        ("kept.gd", "extends Node\n"),
        ("ignored/.gdignore", ""),
        ("ignored/deeper/a.gd", "extends Node\n"),
        (".hidden/b.gd", "extends Node\n"),
        ("addons/tool/c.gd", "extends Node\n"),
        ("sub/project.godot", "config_version=5\n"),
    ]);
    let client = Client::of(&project.root()).await;
    let ids = async |arguments| {
        let found = client.ask("search_nodes", arguments).await;
        let items = found["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let scripts = json!({"kinds": ["script"]});
    assert_eq!(ids(scripts).await, ["res://kept.gd"]);
    let with_addons = json!({"kinds": ["script"], "includeAddons": true});
    assert_eq!(
        ids(with_addons).await,
        ["res://addons/tool/c.gd", "res://kept.gd"]
    );
    client.finish().await;
}
