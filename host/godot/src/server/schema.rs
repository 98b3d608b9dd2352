//! The tools' schemas as they are listed: what schemars derives, made strict clients' liking.

use std::sync::Arc;

use rmcp::model::Tool;
use serde_json::{Map, Value, json};

/// An argument that every tool takes: clients written for the router name the version in each call.
pub(super) const VERSION_ID: &str = "versionId";

/// The tools with their schemas finished.
pub(super) fn listed(tools: Vec<Tool>) -> Vec<Tool> {
    tools.into_iter().map(finished).collect()
}

fn finished(mut tool: Tool) -> Tool {
    let mut input = tool.input_schema.as_ref().clone();
    strip_number_formats(&mut input);
    let properties = input.entry("properties").or_insert_with(|| json!({}));
    if let Value::Object(properties) = properties {
        let version_id = json!({
            "type": ["string", "integer"],
            "description": "Optional check: the call is refused if this instance serves another version.",
        });
        properties.insert(VERSION_ID.to_owned(), version_id);
    }
    input.insert("additionalProperties".to_owned(), Value::Bool(false));
    tool.input_schema = Arc::new(input);
    if let Some(output) = tool.output_schema.take() {
        let mut output = output.as_ref().clone();
        strip_number_formats(&mut output);
        tool.output_schema = Some(Arc::new(output));
    }
    tool
}

/// Takes out `"format": "uint32"` and the like: JSON Schema knows no such formats and validators warn about them.
fn strip_number_formats(schema: &mut Map<String, Value>) {
    let is_number = matches!(schema.get("format"), Some(Value::String(format))
        if format.starts_with("uint") || format.starts_with("int"));
    if is_number {
        schema.remove("format");
    }
    for value in schema.values_mut() {
        match value {
            Value::Object(inner) => strip_number_formats(inner),
            Value::Array(items) => {
                for inner in items.iter_mut().filter_map(Value::as_object_mut) {
                    strip_number_formats(inner);
                }
            }
            _ => {}
        }
    }
}
