//! What README.md and docs/ say is there is there: files, keys of the configuration, dependencies. What their commands do is tried by
//! `newcomer`, `runbook_own` and `runbook_source`.

use std::{collections::BTreeSet, fs};

use router_alerts::engine::OWN_ALERTS;
use router_tests::peers;

const DOCUMENTS: [&str; 9] = [
    "README.md",
    "docs/alerts.md",
    "docs/plugins.md",
    "docs/runbook.md",
    "plugins/templates/alert-rule/README.md",
    "plugins/templates/alert-sink/README.md",
    "plugins/templates/breaker-policy/README.md",
    "plugins/templates/capacity-policy/README.md",
    "plugins/templates/health-policy/README.md",
];

fn read(name: &str) -> String {
    fs::read_to_string(peers::repository().join(name)).unwrap()
}

/// What stands between the signs that follow each other.
fn between<'a>(text: &'a str, opening: &str, closing: char) -> Vec<&'a str> {
    let parts = text.split(opening).skip(1);
    parts
        .filter_map(|part| Some(part.split_once(closing)?.0))
        .collect()
}

#[test]
fn every_link_into_the_repository_leads_somewhere() {
    for name in DOCUMENTS {
        let text = read(name);
        let links = between(&text, "](", ')');
        let folder = peers::repository().join(name);
        let folder = folder.parent().unwrap();
        for link in links.iter().filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = folder.join(file);
            assert!(target.exists(), "{name}: {link}");
            let other = (!file.is_empty() && !heading.is_empty())
                .then(|| fs::read_to_string(target).unwrap());
            let target = other.as_ref().unwrap_or(&text);
            assert!(
                heading.is_empty() || headings(target).contains(heading),
                "{name}: {link}"
            );
        }
    }
}

/// As they are linked to: lower case, hyphens for blanks, no other signs.
pub(crate) fn headings(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| line.starts_with('#'));
    let linked = lines.map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().replace(' ', "-")
    });
    linked.collect()
}

/// What the rule `default-alerts` raises has a test of its own, beside it.
#[test]
fn every_alert_of_the_router_itself_has_its_section() {
    let text = read("docs/runbook.md");
    for alert in OWN_ALERTS {
        assert!(headings(&text).contains(alert.anchor), "{alert:?}");
        let cell = format!("`{}` ({})", alert.name, alert.severity.as_str());
        let link = format!("](#{}) |", alert.anchor);
        let mut lines = text.lines();
        let has_row = lines.any(|line| line.contains(&link) && line.contains(&cell));
        assert!(has_row, "no row with {cell} and {link}");
    }
}

/// Every key that config/router.toml documents, also those that are commented out: `section.key`.
fn keys() -> BTreeSet<String> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in read("config/router.toml").lines() {
        let line = line.trim_start_matches('#');
        if let Some(name) = line.strip_prefix('[') {
            let name = name.trim_start_matches('[').split(']').next().unwrap();
            name.clone_into(&mut section);
        } else if let Some((key, _)) = line.split_once(" = ")
            && key
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}

#[test]
fn every_key_that_is_named_is_one() {
    let keys = keys();
    let sections: BTreeSet<&str> = keys
        .iter()
        .filter_map(|key| key.split('.').next())
        .collect();
    let mut named = 0;
    for name in DOCUMENTS {
        let text = read(name);
        for word in text.split('`').skip(1).step_by(2) {
            let is_key = word.split_once('.').is_some_and(|(section, rest)| {
                let mut letters = rest.bytes();
                sections.contains(section)
                    && letters.all(|byte| byte.is_ascii_lowercase() || b"._-".contains(&byte))
            });
            if is_key {
                assert!(
                    keys.contains(word),
                    "{name}: {word} is no key of config/router.toml"
                );
                named += 1;
            }
        }
    }
    assert!(named > 10, "only {named} keys were found");
}

#[test]
fn every_dependency_has_its_line() {
    let readme = read("README.md");
    let table = readme.split_once("## Dependencies").unwrap().1;
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split(" | ").next());
    let listed: BTreeSet<&str> = names
        .flat_map(|cell| cell.split(", "))
        .map(|name| name.trim_matches('`'))
        .collect();
    let root: toml::Table = read("Cargo.toml").parse().unwrap();
    let members = root["workspace"]["members"].as_array().unwrap();
    let mut used = BTreeSet::new();
    let members = members.iter().filter_map(toml::Value::as_str);
    for folder in members.chain(["tests/model"]) {
        let manifest: toml::Table = read(&format!("{folder}/Cargo.toml")).parse().unwrap();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let section = manifest.get(section).and_then(toml::Value::as_table);
            let others = section.into_iter().flatten().filter(|(name, _)| {
                let own = root["workspace"]["dependencies"].get(name);
                own.is_none_or(|own| own.get("path").is_none())
            });
            used.extend(others.map(|(name, _)| name.clone()));
        }
    }
    let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(used, listed, "dependencies (left), README.md (right)");
}

/// The profile optimises what is not ours; the members are excepted from it by name.
#[test]
fn every_member_is_compiled_as_ours() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let excepted = manifest["profile"]["dev"]["package"].as_table().unwrap();
    let excepted: BTreeSet<String> = excepted.keys().cloned().collect();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let names: BTreeSet<String> = members
        .iter()
        .map(|folder| {
            let manifest = read(&format!("{}/Cargo.toml", folder.as_str().unwrap()));
            let manifest: toml::Table = manifest.parse().unwrap();
            manifest["package"]["name"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(excepted, names);
}

#[test]
fn every_folder_of_the_map_is_there() {
    let readme = read("README.md");
    let rooms = readme.split_once("| folder | crate |").unwrap().1;
    let rooms = rooms.split_once("\n\n").unwrap().0;
    for row in rooms.lines().skip(2) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for folder in cells[1].split(", ").map(|cell| cell.trim_matches('`')) {
            assert!(peers::repository().join(folder).is_dir(), "{row}");
            let name = cells[2].trim_matches('`');
            if !name.is_empty() {
                let manifest: toml::Table = read(&format!("{folder}/Cargo.toml")).parse().unwrap();
                assert_eq!(manifest["package"]["name"].as_str(), Some(name), "{row}");
            }
        }
    }
}
