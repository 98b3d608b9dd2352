//! `capacity`: how much a running router has in use, and how much it needs.

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::remote::{Remote, cell, member, table};
use crate::terminal::print;

/// The measure that is shown in people's units.
const MEMORY: &str = "memory_bytes";

/// See the module.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    remote: Remote,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let capacity = arguments.remote.json(Method::GET, "/api/capacity")?;
    let summary = cell(member(&capacity, "summary")?);
    print(&table(&rows(&capacity)));
    print("");
    for part in [
        &capacity["plan"]["reason"],
        &capacity["refusedPlan"]["reason"],
    ] {
        if let Some(reason) = part.as_str() {
            print(reason);
        }
    }
    let (waiting, refused) = (&capacity["waiting"], &capacity["refusals"]["lastHour"]);
    if [waiting, refused]
        .iter()
        .any(|count| count.as_u64() > Some(0))
    {
        let (waiting, refused) = (cell(waiting), cell(refused));
        print(&format!(
            "{waiting} starts wait, {refused} were refused in the last hour"
        ));
    }
    print(&summary);
    Ok(ExitCode::SUCCESS)
}

/// What is measured, how much of it is in use, and how much there may be.
fn rows(capacity: &Value) -> Vec<Vec<String>> {
    let heading = ["MEASURE", "USED", "LIMIT", "LEFT", "REACHED"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let plan = &capacity["plan"];
    let usage = &capacity["usage"];
    let mut measures = vec![
        (("running", Value::Null), usage["running"].clone()),
        ((MEMORY, Value::Null), usage["memoryBytes"].clone()),
        (("in_flight", Value::Null), usage["inFlight"].clone()),
    ];
    let limits = plan["limits"].as_array().map_or(&[][..], Vec::as_slice);
    for limit in limits {
        let of = (
            limit["of"].as_str().unwrap_or_default(),
            limit["template"].clone(),
        );
        if !measures.iter().any(|(known, _)| *known == of) {
            measures.push((of, limit["used"].clone()));
        }
    }
    for ((of, template), used) in measures {
        let is_it = |row: &&Value| row["of"] == *of && row["template"] == template;
        let limit = limits.iter().find(is_it).unwrap_or(&Value::Null);
        let forecasts = plan["forecasts"].as_array().map_or(&[][..], Vec::as_slice);
        let reached = forecasts.iter().find(is_it).map(|forecast| &forecast["at"]);
        let reached = reached.and_then(Value::as_str);
        let name = match template.as_str() {
            Some(template) => format!("{of} {template}"),
            None => of.to_owned(),
        };
        let (name, show): (_, fn(&Value) -> String) = match of {
            MEMORY => ("memory".to_owned(), memory),
            _ => (name, cell),
        };
        rows.push(vec![
            name,
            show(&used),
            show(&limit["most"]),
            show(&limit["headroom"]),
            reached
                .and_then(|at| at.get(..10))
                .unwrap_or("-")
                .to_owned(),
        ]);
    }
    rows
}

/// Bytes in a unit that people can read.
fn memory(value: &Value) -> String {
    const MIB: f64 = 1_048_576.0;
    match value.as_f64() {
        Some(bytes) if bytes >= 1024.0 * MIB => format!("{:.1} GiB", bytes / MIB / 1024.0),
        Some(bytes) => format!("{:.0} MiB", bytes / MIB),
        None => cell(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn each_measure_has_a_row_with_its_limit_and_when_it_is_reached() {
        let capacity = json!({
            "usage": { "running": 3, "memoryBytes": 734_003_200_u64, "inFlight": 1 },
            "plan": {
                "limits": [
                    { "of": "running", "template": null, "most": 10, "used": 3, "headroom": 7 },
                    { "of": "memory_bytes", "template": null, "most": 17_179_869_184_u64, "used": 734_003_200, "headroom": 16_445_865_984_u64 },
                    { "of": "running_of_template", "template": "godot", "most": 2, "used": 2, "headroom": 0 },
                ],
                "forecasts": [{ "of": "running", "template": null, "at": "2027-02-03T00:00:00.000Z" }],
            },
        });
        let rows = super::rows(&capacity);
        let expected = [
            ["MEASURE", "USED", "LIMIT", "LEFT", "REACHED"],
            ["running", "3", "10", "7", "2027-02-03"],
            ["memory", "700 MiB", "16.0 GiB", "15.3 GiB", "-"],
            ["in_flight", "1", "-", "-", "-"],
            ["running_of_template godot", "2", "2", "0", "-"],
        ];
        assert_eq!(rows, expected);
    }
}
