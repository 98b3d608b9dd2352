//! Every bound, reached: what is too much is cut and said, and the rest is served.

use router_godot::ProjectLimits;
use serde_json::{Value, json};

use crate::client::{Client, Project};

fn faults(overview: &Value) -> String {
    overview["faults"].to_string()
}

#[tokio::test]
async fn a_huge_file_is_left_out_and_said() {
    let project = Project::with(&[("small.gd", "class_name Small\n")]);
    project.write("huge.tscn", vec![b' '; 70_000]);
    project.write("huge.gd", vec![b'#'; 70_000]);
    let limits = ProjectLimits {
        file_bytes_max: 65_536,
        ..ProjectLimits::default()
    };
    let client = Client::within(&project.root(), limits).await;
    let overview = client.ask("get_project", json!({})).await;
    assert_eq!(overview["classes"]["total"], 1);
    assert_eq!(overview["files"], json!({"scene": 1, "script": 2}));
    assert_eq!(overview["faults"]["total"], 2, "{overview}");
    assert!(faults(&overview).contains("70000 bytes, more than the 65536 that are read"));
    let refusal = client
        .refusal("get_script_content", json!({"path": "huge.gd"}))
        .await;
    assert!(refusal.contains("more than the 65536"), "{refusal}");
    client.finish().await;
}

#[tokio::test]
async fn a_real_file_of_the_largest_size_is_read() {
    let mut scene = String::from(
        "[gd_scene format=3]\n\n[node name=\"Root\" type=\"Node2D\"]\ncells = PackedInt32Array(",
    );
    while scene.len() < 7 * 1024 * 1024 {
        scene.push_str("12345, ");
    }
    scene.push_str("0)\n\n[node name=\"Last\" type=\"Node2D\" parent=\".\"]\n");
    let project = Project::with(&[("big.tscn", &scene)]);
    let client = Client::of(&project.root()).await;
    let found = client
        .ask(
            "search_nodes",
            json!({"kinds": ["node"], "includeProperties": true}),
        )
        .await;
    assert_eq!(found["total"], 2, "{found}");
    assert_eq!(found["items"][1]["name"], "Last");
    assert!(found.to_string().len() < 2_000);
    assert_eq!(found["faults"]["total"], 0);
    client.finish().await;
}

#[tokio::test]
async fn more_files_more_text_or_deeper_folders_than_allowed_are_cut_and_said() {
    let project = Project::with(&[]);
    for index in 0..30 {
        project.write(&format!("f/s{index:02}.gd"), "extends Node\n");
    }
    project.write("a/b/c/d/deep.gd", "extends Node\n");
    let few = ProjectLimits {
        files_max: 10,
        ..ProjectLimits::default()
    };
    let client = Client::within(&project.root(), few).await;
    let overview = client.ask("get_project", json!({})).await;
    assert_eq!(
        overview["files"]["script"], 9,
        "and project.godot: {overview}"
    );
    assert!(
        faults(&overview).contains("more files than are read"),
        "{overview}"
    );
    assert!(
        overview["note"]
            .as_str()
            .unwrap()
            .contains("larger than what is indexed")
    );
    // What is not indexed can still be read by its path.
    client
        .ask("get_script_content", json!({"path": "f/s00.gd"}))
        .await;
    client.finish().await;

    let shallow = ProjectLimits {
        folder_depth_max: 3,
        ..ProjectLimits::default()
    };
    let client = Client::within(&project.root(), shallow).await;
    let overview = client.ask("get_project", json!({})).await;
    assert_eq!(overview["files"]["script"], 30);
    assert!(faults(&overview).contains("res://a/b/c/d"), "{overview}");
    client.finish().await;

    let short = ProjectLimits {
        total_bytes_max: 200,
        ..ProjectLimits::default()
    };
    let client = Client::within(&project.root(), short).await;
    for _ in 0..2 {
        let overview = client.ask("get_project", json!({})).await;
        assert_eq!(overview["files"]["script"], 31);
        assert!(
            faults(&overview).contains("more text than one instance reads"),
            "{overview}"
        );
    }
    client.finish().await;
}

#[tokio::test]
async fn answers_stay_within_their_size_and_pages_join_to_the_whole() {
    let project = Project::with(&[]);
    for index in 0..150 {
        let long = "x".repeat(200);
        let script = format!(
            "extends Node\nconst NEXT = preload(\"res://s/{long}_{:03}.gd\")\n",
            index + 1
        );
        project.write(&format!("s/{long}_{index:03}.gd"), script);
    }
    let limits = ProjectLimits {
        answer_bytes_max: 16 * 1024,
        ..ProjectLimits::default()
    };
    let client = Client::within(&project.root(), limits).await;
    for (tool, list, arguments) in [
        ("search_nodes", "items", json!({"limit": 500})),
        ("get_dependency_graph", "nodes", json!({"limit": 1000})),
    ] {
        let mut seen = Vec::new();
        let mut edges = 0;
        let mut arguments = arguments;
        loop {
            let page = client.ask(tool, arguments.clone()).await;
            assert!(
                page.to_string().len() < 17 * 1024,
                "{tool}: {}",
                page.to_string().len()
            );
            let items = page[list].as_array().unwrap();
            seen.extend(
                items
                    .iter()
                    .map(|item| item["id"].as_str().unwrap().to_owned()),
            );
            edges += page["edges"].as_array().map_or(0, Vec::len);
            let Some(next) = page.get("nextOffset") else {
                assert_eq!(page["total"], seen.len());
                break;
            };
            assert!(
                page["note"]
                    .as_str()
                    .unwrap()
                    .contains(&format!("offset {next}"))
            );
            arguments["offset"] = next.clone();
        }
        let mut unique = seen.clone();
        unique.dedup();
        assert_eq!(unique.len(), seen.len(), "{tool}: something came twice");
        assert!(
            seen.iter().filter(|id| id.ends_with(".gd")).count() == 150,
            "{tool}"
        );
        if tool == "get_dependency_graph" {
            assert_eq!(edges, 149);
        }
    }
    client.finish().await;
}

#[tokio::test]
async fn a_long_source_comes_in_pieces_of_whole_lines() {
    let source: String = (1..=3_000)
        .map(|line| format!("# line {line} \"quoted\" \\ ü\n"))
        .collect();
    let project = Project::with(&[("long.gd", &source)]);
    project.write(
        "one_line.gd",
        format!("# {}\n# second\n", "\u{1}".repeat(50_000)),
    );
    let limits = ProjectLimits {
        answer_bytes_max: 16 * 1024,
        ..ProjectLimits::default()
    };
    let client = Client::within(&project.root(), limits).await;
    let mut joined = String::new();
    let mut start_line = 1;
    loop {
        let arguments = json!({"path": "long.gd", "startLine": start_line});
        let piece = client.ask("get_script_content", arguments).await;
        assert!(piece.to_string().len() < 17 * 1024);
        assert_eq!(piece["totalLines"], 3_000);
        assert_eq!(piece["startLine"], start_line);
        joined.push_str(piece["content"].as_str().unwrap());
        match piece.get("nextLine") {
            Some(next) => start_line = next.as_u64().unwrap(),
            None => break,
        }
    }
    assert_eq!(joined, source);
    let few = client
        .ask(
            "get_script_content",
            json!({"path": "long.gd", "startLine": 2_999, "maxLines": 1}),
        )
        .await;
    assert_eq!(few["content"], "# line 2999 \"quoted\" \\ ü\n");
    assert_eq!(few["nextLine"], 3_000);
    let refusal = client
        .refusal(
            "get_script_content",
            json!({"path": "long.gd", "startLine": 3_001}),
        )
        .await;
    assert!(refusal.contains("3000 lines"), "{refusal}");

    let cut = client
        .ask("get_script_content", json!({"path": "one_line.gd"}))
        .await;
    assert!(cut.to_string().len() < 17 * 1024);
    assert!(
        cut["note"]
            .as_str()
            .unwrap()
            .contains("Line 1 is longer than an answer"),
        "{}",
        cut["note"]
    );
    assert_eq!(cut["nextLine"], 2);
    client.finish().await;
}

#[tokio::test]
async fn deep_nesting_of_every_kind_is_survived() {
    let project = Project::with(&[]);
    let kinds = [
        ("[", "]"),
        ("{0: ", "}"),
        ("Array([", "])"),
        ("Object(X,\"a\":", ")"),
        ("Array[X(", ")]([])"),
    ];
    for (index, (open, close)) in kinds.iter().enumerate() {
        let value = format!("{}{}", open.repeat(20_000), close.repeat(20_000));
        let text = format!(
            "[gd_resource type=\"R\" format=3]\n\n[resource]\ndeep = {value}\nafter = {value}\n"
        );
        project.write(&format!("deep{index}.tres"), text);
    }
    project.write(
        "deep.gd",
        format!(
            "var x = {}1{}\nfunc after():\n\tpass\n",
            "(".repeat(50_000),
            ")".repeat(50_000)
        ),
    );
    let mut chain = String::from("[gd_scene format=3]\n\n[node name=\"N\" type=\"Node\"]\n");
    let mut parent = String::from(".");
    for _ in 0..500 {
        chain.push_str(&format!(
            "\n[node name=\"N\" type=\"Node\" parent=\"{parent}\"]\n"
        ));
        parent = if parent == "." {
            "N".to_owned()
        } else {
            format!("{parent}/N")
        };
    }
    project.write("chain.tscn", chain);
    for index in 0..60 {
        let scene = format!(
            "[gd_scene format=3]\n\n[ext_resource type=\"PackedScene\" path=\"res://i{}.tscn\" id=\"1\"]\n\n[node name=\"I\" instance=ExtResource(\"1\")]\n",
            index + 1
        );
        project.write(&format!("i{index}.tscn"), scene);
    }
    let client = Client::of(&project.root()).await;
    let overview = client.ask("get_project", json!({})).await;
    assert!(
        faults(&overview).contains("nested more than 100 deep"),
        "{overview}"
    );
    let source = client
        .ask(
            "get_script_content",
            json!({"path": "deep.gd", "startLine": 2}),
        )
        .await;
    assert_eq!(source["functions"]["items"][0]["name"], "after");
    let found = client
        .ask("search_nodes", json!({"kinds": ["node"], "limit": 500}))
        .await;
    assert_eq!(found["total"], 561);
    client.finish().await;
}

#[tokio::test]
async fn names_and_ids_without_end_are_cut() {
    let long = "n".repeat(100_000);
    let scene = format!(
        "[gd_scene format=3 uid=\"uid://{long}\"]\n\n[ext_resource type=\"{long}\" path=\"res://{long}\" id=\"{long}\"]\n\n[node name=\"{long}\" type=\"{long}\" groups=[\"{long}\"]]\n{long} = \"{long}\"\n"
    );
    let script = format!(
        "class_name {long}\nextends {long}\nsignal {long}({long})\nfunc {long}({long}):\n\tload(\"res://{long}\")\n"
    );
    let project = Project::with(&[("a.tscn", &scene), ("a.gd", &script)]);
    let client = Client::of(&project.root()).await;
    for (tool, arguments) in [
        ("get_project", json!({})),
        ("search_nodes", json!({"includeProperties": true})),
        ("get_dependency_graph", json!({})),
        ("get_node_dependencies", json!({"node": "res://a.tscn"})),
    ] {
        let answer = client.ask(tool, arguments).await;
        assert!(
            answer.to_string().len() < 40_000,
            "{tool}: {}",
            answer.to_string().len()
        );
    }
    client.finish().await;
}

#[tokio::test]
async fn what_nodes_share_is_not_multiplied() {
    let mut scene = String::from("[gd_scene format=3]\n\n");
    for index in 0..10_000 {
        scene.push_str(&format!(
            "[ext_resource type=\"T\" path=\"res://t{index}\" id=\"{index}\"]\n"
        ));
    }
    scene.push_str("[sub_resource type=\"S\" id=\"all\"]\nall = [");
    for index in 0..10_000 {
        scene.push_str(&format!("ExtResource(\"{index}\"), "));
    }
    scene.push_str("]\n[node name=\"Root\" type=\"Node\"]\n");
    let deep = "d/".repeat(400);
    for index in 0..20_000 {
        scene.push_str(&format!(
            "[node name=\"n{index}\" parent=\"{deep}\"]\na = SubResource(\"all\")\n"
        ));
    }
    let project = Project::with(&[("a.tscn", &scene)]);
    let limits = ProjectLimits {
        file_bytes_max: 64 * 1024 * 1024,
        ..ProjectLimits::default()
    };
    let client = Client::within(&project.root(), limits).await;
    let found = client.ask("search_nodes", json!({"type": "Nothing"})).await;
    assert_eq!(found["total"], 0);
    let overview = client.ask("get_project", json!({})).await;
    assert_eq!(overview["sceneNodes"], 20_001);
    assert_eq!(overview["missingReferences"], 10_000);
    client.finish().await;
}
