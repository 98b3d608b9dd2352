//! MCP resources: `godot://project` and `godot://script/…`.

use rmcp::ErrorData;
use rmcp::model::{
    ListResourcesResult, ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
};

use crate::answer::{AnswerBudget, ProjectQuery, QueryRefusal, ScriptSource};
use crate::facts::FileKind;
use crate::index::ProjectIndex;
use crate::limits::clip;

/// The overview of the project.
const PROJECT: &str = "godot://project";

/// What the uri of a script starts with; its path below `res://` follows, percent-encoded.
const SCRIPT: &str = "godot://script/";

/// Resources on a page of the list.
const PAGE: usize = 200;

/// The largest source that is returned as a resource, which has no pages; `get_script_content` has.
const SOURCE_BYTES_MAX: usize = 1024 * 1024;

/// Where a page of the list starts.
pub(super) fn offset(cursor: Option<&str>) -> Result<usize, ErrorData> {
    match cursor {
        None => Ok(0),
        Some(cursor) => cursor.parse().map_err(|_| {
            ErrorData::invalid_params("this cursor did not come from this server", None)
        }),
    }
}

/// A page of the list.
pub(super) fn list(
    index: &ProjectIndex,
    offset: usize,
) -> Result<ListResourcesResult, QueryRefusal> {
    let snapshot = index.snapshot().map_err(|error| error.to_string())?;
    let project = Resource::new(PROJECT, "project")
        .with_title("Project overview")
        .with_description("What get_project answers, as JSON.")
        .with_mime_type("application/json");
    let sources = snapshot
        .files
        .iter()
        .filter(|file| matches!(file.kind, FileKind::Script | FileKind::Shader));
    let scripts = sources.map(|file| {
        let uri = format!("{SCRIPT}{}", encode(file.path.relative()));
        Resource::new(uri, file.path.relative())
            .with_mime_type(mime_type(file.path.extension().as_str()))
    });
    let mut resources = std::iter::once(project).chain(scripts).skip(offset);
    let page: Vec<Resource> = resources.by_ref().take(PAGE).collect();
    let next = offset.saturating_add(page.len());
    let mut result = ListResourcesResult::with_all_items(page);
    result.next_cursor = resources.next().map(|_| next.to_string());
    Ok(result)
}

/// How uris are made.
pub(super) fn templates() -> Vec<ResourceTemplate> {
    let script = ResourceTemplate::new("godot://script/{+path}", "script")
        .with_title("Script source")
        .with_description("The source of a script or shader by its path below res://.")
        .with_mime_type("text/x-gdscript");
    vec![script]
}

/// The contents of a resource.
pub(super) fn read(
    index: &ProjectIndex,
    version_id: Option<&str>,
    uri: &str,
) -> Result<ReadResourceResult, QueryRefusal> {
    let snapshot = index.snapshot().map_err(|error| error.to_string())?;
    let (text, mime_type) = if uri == PROJECT {
        let budget = AnswerBudget::new(index.limits().answer_bytes_max);
        let answer = ProjectQuery::default().answer(&snapshot, version_id, budget)?;
        let json = serde_json::to_string_pretty(&answer).map_err(|error| error.to_string())?;
        (json, "application/json")
    } else if let Some(path) = uri.strip_prefix(SCRIPT) {
        let source = ScriptSource::read(index, &snapshot, &decode(path)?)?;
        if source.text.len() > SOURCE_BYTES_MAX {
            return Err(format!(
                "{} is too large for a resource; use get_script_content",
                source.id
            ));
        }
        let mime_type = match source.language {
            "gdscript" => "text/x-gdscript",
            _ => "text/plain",
        };
        (source.text, mime_type)
    } else {
        let shown = clip(uri, 200);
        return Err(format!(
            "there is no resource `{shown}`; resources/list names those there are"
        ));
    };
    let contents = ResourceContents::text(text, uri).with_mime_type(mime_type);
    Ok(ReadResourceResult::new(vec![contents]))
}

fn mime_type(extension: &str) -> &'static str {
    match extension {
        "gd" => "text/x-gdscript",
        _ => "text/plain",
    }
}

/// Percent-encodes what may not stand in a uri's path (RFC 3986, section 3.3), slashes excepted.
fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/@:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn decode(path: &str) -> Result<String, QueryRefusal> {
    let bad = || "the resource's path is not correctly percent-encoded UTF-8".to_owned();
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || {
            bytes
                .next()
                .and_then(|digit| char::from(digit).to_digit(16))
        };
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(bad());
        };
        out.push(u8::try_from(high * 16 + low).map_err(|_| bad())?);
    }
    String::from_utf8(out).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn paths_survive_a_uri() {
        for path in ["player/player.gd", "a b/ü%.gd", "x#y?.gd"] {
            let encoded = encode(path);
            assert!(!encoded.contains([' ', '#', '?', 'ü']), "{encoded}");
            assert_eq!(decode(&encoded).as_deref(), Ok(path));
        }
        assert!(decode("%zz").is_err());
        assert!(decode("%f").is_err());
        assert!(decode("%ff").is_err());
    }
}
