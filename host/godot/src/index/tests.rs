//! Facts of arbitrary files, and the index over them: nothing that stands in a file may make it fail.

use proptest::prelude::*;

use super::ProjectIndex;
use crate::facts::{self, FileKind};
use crate::limits::ProjectLimits;
use crate::path::ProjectPath;

const NAMES: [&str; 9] = [
    "project.godot",
    "a.tscn",
    "a.tres",
    "a.gd",
    "a.gdshader",
    "plugin.cfg",
    "a.png.import",
    "a.gd.uid",
    "a.png",
];

#[test]
fn kinds_follow_names() {
    let expected = [
        FileKind::Project,
        FileKind::Scene,
        FileKind::Resource,
        FileKind::Script,
        FileKind::Shader,
        FileKind::Plugin,
        FileKind::Import,
        FileKind::Uid,
        FileKind::Asset,
    ];
    for (name, kind) in NAMES.iter().zip(expected) {
        assert_eq!(
            FileKind::of(&ProjectPath::parse(name).unwrap()),
            kind,
            "{name}"
        );
    }
    let nested = ProjectPath::parse("sub/project.godot").unwrap();
    assert_eq!(
        FileKind::of(&nested),
        FileKind::Asset,
        "only the root's is the project"
    );
    assert!(!FileKind::Scene.is_parsed(&ProjectPath::parse("binary.scn").unwrap()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_reading_a_file_fail(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        for name in NAMES {
            let path = ProjectPath::parse(name).unwrap();
            let mut faults = Vec::new();
            facts::read(&path, &bytes, &mut faults);
            prop_assert!(faults.iter().all(|fault| fault.path == path.as_str()));
        }
    }

    #[test]
    fn no_project_makes_indexing_fail(scenes in proptest::collection::vec((0..6_usize, 0..6_usize, any::<bool>()), 0..12)) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("project.godot"), "config_version=5\n").unwrap();
        for (name, to, inherits) in &scenes {
            let node = match inherits {
                true => "[node name=\"Root\" instance=ExtResource(\"1\")]".to_owned(),
                false => "[node name=\"Root\" type=\"Node\"]\n[node name=\"C\" parent=\".\" instance=ExtResource(\"1\")]\n[node name=\"D\" parent=\"C/E\"]".to_owned(),
            };
            let text = format!("[gd_scene format=3 uid=\"uid://{to}\"]\n[ext_resource type=\"PackedScene\" path=\"res://s{to}.tscn\" uid=\"uid://{name}\" id=\"1\"]\n{node}\n");
            std::fs::write(folder.path().join(format!("s{name}.tscn")), text).unwrap();
        }
        let index = ProjectIndex::open(folder.path(), ProjectLimits::default()).unwrap();
        let snapshot = index.snapshot().unwrap();
        for id in 0..snapshot.files.len() {
            for node in snapshot.scene(id).into_iter().flat_map(|scene| &scene.nodes) {
                snapshot.effective(id, node);
            }
            let file = &snapshot.files[id];
            for edge in &file.edges {
                prop_assert!(snapshot.files[edge.to].dependents.contains(&id));
            }
            for from in &file.dependents {
                prop_assert!(snapshot.files[*from].edges.iter().any(|edge| edge.to == id));
            }
        }
    }
}

#[test]
fn nothing_is_read_again_while_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("project.godot"), "config_version=5\n").unwrap();
    std::fs::write(folder.path().join("image.png"), "x").unwrap();
    let index = ProjectIndex::open(folder.path(), ProjectLimits::default()).unwrap();
    // A file younger than the clock's tick is read again; soon it is not.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let first = index.snapshot().unwrap();
        let second = index.snapshot().unwrap();
        if std::sync::Arc::ptr_eq(&first, &second) {
            break;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "the snapshot is made anew for ever"
        );
    }
    let before = index.snapshot().unwrap();
    std::fs::write(folder.path().join("new.png"), "x").unwrap();
    assert!(!std::sync::Arc::ptr_eq(&before, &index.snapshot().unwrap()));
}
