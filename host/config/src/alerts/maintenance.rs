//! `[[alerts.maintenance]]`: times in which nobody hears of alerts.

use std::{collections::BTreeSet, time::Duration};

use router_alerts::{
    matcher::Matcher,
    window::{MaintenanceWindow, WINDOW_MS_MAX, WINDOW_MS_MIN},
};
use router_values::{quoted, whole_ms};

use super::{read_items, read_matcher};
use crate::{
    reader::ConfigSection,
    value::{InvalidValue, Label},
};

/// Most windows: each is looked at for each alert.
const WINDOWS_MAX: usize = 256;

pub(super) fn read_all(alerts: &ConfigSection<'_, '_>) -> Vec<MaintenanceWindow> {
    let mut names = BTreeSet::new();
    let mut windows = Vec::new();
    for section in read_items(alerts, "maintenance", WINDOWS_MAX) {
        let window = read(&section);
        if let Some(window) = &window
            && !names.insert(window.name.clone())
        {
            let what = format!("another window is called {:?}", window.name);
            let remedy = "give each its own, for explanations tell them apart by it";
            section
                .reader
                .fault_at(&section.key_path("name"), what, remedy);
        }
        section.close();
        windows.extend(window);
    }
    windows
}

fn read(section: &ConfigSection<'_, '_>) -> Option<MaintenanceWindow> {
    const ZONE: &str = "UTC";
    const AT: &str = "Mon 02:00";
    let parse = |at: &str, zone: &str| {
        MaintenanceWindow::parse("", at, WINDOW_MS_MIN, zone, Matcher::default())
    };
    let name: Option<Label> = section
        .key("name")
        .required("say what it is for: name = \"weekly\"");
    let at: Option<String> = section
        .key("at")
        .rule(|at: &String| match parse(at, ZONE) {
            Ok(_) => Ok(()),
            Err(_) => Err(InvalidValue::new(
                format!("{} is no beginning", quoted(at)),
                "write a weekday and a time (\"Mon 02:00\"), or a date and a time (\"2027-01-31 02:00\")",
            )),
        })
        .required("say when it begins: at = \"Mon 02:00\"");
    let lasts = section
        .key("for")
        .within(
            Duration::from_millis(WINDOW_MS_MIN),
            Duration::from_millis(WINDOW_MS_MAX),
        )
        .required("say how long it lasts: for = \"1h\"");
    let zone = section
        .key("timezone")
        .rule(|zone: &String| match parse(AT, zone) {
            Ok(_) => Ok(()),
            Err(_) => Err(InvalidValue::new(
                format!("{} is no time zone", quoted(zone)),
                "write UTC, or a name like Europe/Berlin",
            )),
        })
        .or(ZONE.to_owned());
    let about = section.child("match");
    let matcher = read_matcher(&about);
    about.close();
    let (Label(name), at, lasts) = (name?, at?, lasts?);
    MaintenanceWindow::parse(&name, &at, whole_ms(lasts), &zone, matcher).ok()
}
