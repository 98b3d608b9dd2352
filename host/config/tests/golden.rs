//! Every message about a faulty configuration, word for word: `tests/golden/NAME.toml` (or `NAME.json`, a definition for
//! `POST /api/instances`) and what is said about it in `NAME.txt`. `UPDATE_GOLDEN=1 cargo test` writes what is said now.
//!
//! A line `#env NAME=value` at the top of a document is a variable; `@/` in it is the folder of the secrets of these tests.

#![allow(
    clippy::unwrap_used,
    reason = "a test's helper: what it cannot do ends the test"
)]

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use router_config::{Environment, load, parse_instance_json};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// What is said about a document. The documents are read as if they stood in a directory of their own, so that no message
/// depends on where the tests run.
fn said(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap();
    let secrets = golden().join("secrets");
    let secrets = secrets.to_str().unwrap();
    let variables: Vec<(String, String)> = text
        .lines()
        .map_while(|line| line.strip_prefix("#env "))
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.replace("@/", &format!("{secrets}/"))))
        .collect();
    let text = text.replace("@/", &format!("{secrets}/"));
    let result = if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        let base = fs::read_to_string(golden().join("base.toml")).unwrap();
        let config = load(
            &base,
            Path::new("base.toml"),
            &Environment::new("/srv", [("", ""); 0]),
        )
        .unwrap();
        parse_instance_json(&text, &config).map(|instance| format!("{instance:#?}\n"))
    } else {
        load(&text, Path::new(name), &Environment::new("/srv", variables)).map(|config| {
            config
                .notices
                .iter()
                .fold(String::new(), |mut said, notice| {
                    writeln!(said, "notice: {}: {}", notice.key, notice.what).unwrap();
                    said
                })
        })
    };
    let said = result.unwrap_or_else(|faults| format!("{faults}\n"));
    said.replace(secrets, "@")
}

#[test]
fn every_fault_is_said_as_before() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let (mut names, mut wrong) = (BTreeSet::new(), String::new());
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some("toml" | "json")) {
            continue;
        }
        names.insert(path.file_stem().unwrap().to_owned());
        let (said, kept) = (said(&path), path.with_extension("txt"));
        if update {
            fs::write(&kept, &said).unwrap();
        } else if fs::read_to_string(&kept).ok().as_deref() != Some(&said) {
            write!(wrong, "\n{}:\n{said}", kept.display()).unwrap();
        }
    }
    assert!(
        wrong.is_empty(),
        "said otherwise than kept (UPDATE_GOLDEN=1 keeps it):{wrong}"
    );
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        let orphan = path.extension().is_some_and(|extension| extension == "txt")
            && !names.contains(path.file_stem().unwrap());
        assert!(!orphan, "{} belongs to no document", path.display());
    }
    assert!(names.len() >= 25, "{}", names.len());
}

/// A message about a secret must not hold it, nor a part of it as base64. Every secret of these documents contains this word.
#[test]
fn no_message_holds_a_secret() {
    let mut torn = 0;
    for entry in fs::read_dir(golden()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".txt") {
            continue;
        }
        let said = fs::read_to_string(golden().join(&name)).unwrap();
        for secret in ["hunter2", "aHVudGVyMg"] {
            assert!(!said.contains(secret), "{name}");
        }
        // What is torn is said with its place, and without its text.
        if name.starts_with("torn-") {
            torn += 1;
            assert!(said.starts_with("torn-"), "{name}: {said}");
        }
    }
    assert!(torn >= 7, "{torn}");
}
