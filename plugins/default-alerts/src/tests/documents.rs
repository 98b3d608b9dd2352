//! What the documents say of the alerts: each heading that one refers to exists, and each alert and each key is described.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{CATALOGUE, LIMITS};

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name);
    fs::read_to_string(path).unwrap()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let headings = text.lines().filter(|line| {
        is_code ^= line.starts_with("```");
        !is_code && line.starts_with('#')
    });
    let anchor = |heading: &str| {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_anchor_is_a_heading_of_the_runbook_which_says_so() {
    let text = document("runbook.md");
    let anchors = anchors(&text);
    for alert in CATALOGUE {
        let (name, anchor) = (alert.name, alert.anchor);
        assert!(anchors.contains(anchor), "{name}: #{anchor}");
        let cell = format!("`{name}` ({:?})", alert.severity).replace("Severity::", "");
        let link = format!("](#{anchor}) |");
        let has_row = text
            .lines()
            .any(|line| line.contains(&link) && line.contains(&cell));
        assert!(has_row, "no row with {cell} and {link}");
    }
    assert!(
        !anchors.contains("bin-bash"),
        "a comment of a script is no heading"
    );
}

#[test]
fn every_alert_and_every_threshold_is_described() {
    let text = document("plugins.md");
    let (_, text) = text
        .split_once("`default-alerts`")
        .expect("it is described");
    for alert in CATALOGUE {
        let severity = format!("{:?}", alert.severity).to_uppercase();
        let severity = severity.rsplit("::").next().unwrap();
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", alert.name)));
        let row = row.unwrap_or_else(|| panic!("no row for {}", alert.name));
        let cells: Vec<&str> = row.split(" | ").collect();
        assert_eq!(
            (cells[1], cells[2]),
            (severity, format!("{} s", alert.for_ms / 1_000).as_str()),
            "{row}"
        );
    }
    for (key, default, ..) in LIMITS {
        let cell = format!("`{key}` ({default})");
        assert!(text.contains(&cell), "no {cell}");
    }
}
