//! `get_script_content`: the source of a script or shader, in pieces of whole lines.

use rmcp::schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::budget::{AnswerBudget, Listed};
use super::subject::{QueryRefusal, QuerySubject, refused};
use crate::facts::{FileKind, built_in_source};
use crate::fault::{FileFault, Flaws};
use crate::index::{ProjectIndex, ProjectSnapshot};
use crate::path::ProjectPath;
use crate::script::{Member, ScriptFacts};
use crate::text::decode;

/// The arguments of `get_script_content`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct ScriptQuery {
    /// Which script or shader: a path ("res://player/player.gd"), a uid, a class_name, an autoload, or the id of a script inside a scene ("res://door.tscn::GDScript_1").
    path: String,
    /// The first line to return. 1 unless said.
    #[schemars(range(min = 1))]
    start_line: Option<usize>,
    /// How many lines to return. As many as fit unless said.
    #[schemars(range(min = 1))]
    max_lines: Option<usize>,
}

/// The answer of `get_script_content`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct ScriptAnswer {
    /// The script's id.
    path: String,
    /// What it is written in: gdscript, csharp or gdshader.
    language: &'static str,
    /// How many lines it has.
    total_lines: usize,
    /// The first line of content.
    start_line: usize,
    /// The last line of content.
    end_line: usize,
    /// The source.
    content: String,
    /// The line to ask for next, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_line: Option<usize>,
    /// The class_name that it declares.
    #[serde(skip_serializing_if = "Option::is_none")]
    class_name: Option<String>,
    /// What it extends.
    #[serde(skip_serializing_if = "Option::is_none")]
    extends: Option<String>,
    /// It runs in the editor.
    tool: bool,
    /// Its functions.
    functions: Listed<MemberAnswer>,
    /// Its signals.
    signals: Listed<MemberAnswer>,
    /// Its variables that are shown in the inspector.
    exports: Listed<MemberAnswer>,
    /// What is wrong with it.
    faults: Listed<FileFault>,
    /// What the answer leaves out.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// A function, signal or exported variable.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
struct MemberAnswer {
    /// Its name.
    name: String,
    /// Its parameters, or the kind of export.
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    /// The line it is declared on.
    line: u32,
}

/// A script's source, whole.
pub(crate) struct ScriptSource {
    /// Its id.
    pub(crate) id: String,
    /// What it is written in.
    pub(crate) language: &'static str,
    /// The source.
    pub(crate) text: String,
    faults: Vec<FileFault>,
}

impl ScriptSource {
    /// Reads the script that `wanted` names.
    pub(crate) fn read(
        index: &ProjectIndex,
        snapshot: &ProjectSnapshot,
        wanted: &str,
    ) -> Result<Self, QueryRefusal> {
        let subject = QuerySubject::find(snapshot, wanted);
        let (path, built_in) = match subject {
            Ok(QuerySubject::File(file)) => (snapshot.files[file].path.clone(), None),
            Ok(QuerySubject::BuiltIn { file, id }) => (snapshot.files[file].path.clone(), Some(id)),
            Ok(QuerySubject::Node { scene, path }) => {
                let scene = &snapshot.files[scene].path;
                return Err(format!(
                    "`{scene}#{path}` is a node; get_node_dependencies names its script"
                ));
            }
            // A link, or a file past what is indexed, can still be read by its path.
            Err(refusal) => match ProjectPath::parse(wanted.trim()) {
                Ok(path) if matches!(FileKind::of(&path), FileKind::Script | FileKind::Shader) => {
                    (path, None)
                }
                _ => return Err(refusal),
            },
        };
        let language = match (&built_in, FileKind::of(&path), path.extension().as_str()) {
            (Some(_), ..) | (None, FileKind::Script, "gd") => "gdscript",
            (None, FileKind::Script, _) => "csharp",
            (None, FileKind::Shader, _) => "gdshader",
            _ => return Err(format!("{path} is not a script or shader")),
        };
        let bytes = index.read(&path).map_err(|error| match error {
            crate::root::FileAccessError::Refused(refusal) => refused(wanted, &refusal),
            other => format!("{path} cannot be read: {other}"),
        })?;
        let mut flaws = Flaws::default();
        let mut text = decode(&bytes, &mut flaws);
        let mut id = path.to_string();
        if let Some(built_in) = built_in {
            text = built_in_source(&text, &built_in)
                .ok_or_else(|| format!("{path} no longer holds the script `{built_in}`"))?;
            id = format!("{path}::{built_in}");
        }
        let faults = flaws
            .into_vec()
            .into_iter()
            .map(|flaw| flaw.of(path.as_str()))
            .collect();
        Ok(Self {
            id,
            language,
            text,
            faults,
        })
    }
}

impl ScriptQuery {
    /// Answers the question.
    pub(crate) fn answer(
        &self,
        index: &ProjectIndex,
        snapshot: &ProjectSnapshot,
        mut budget: AnswerBudget,
    ) -> Result<ScriptAnswer, QueryRefusal> {
        let source = ScriptSource::read(index, snapshot, &self.path)?;
        let mut flaws = Flaws::default();
        let facts = match source.language {
            "gdscript" => ScriptFacts::read(&source.text, &mut flaws),
            _ => ScriptFacts::default(),
        };
        let mut faults = source.faults;
        let file = source.id.split("::").next().unwrap_or_default();
        faults.extend(flaws.into_vec().into_iter().map(|flaw| flaw.of(file)));
        let faults = budget.share(8).list(faults);
        let lines: Vec<&str> = source.text.split_inclusive('\n').collect();
        let start_line = self.start_line.unwrap_or(1).max(1);
        if start_line > lines.len().max(1) {
            return Err(format!(
                "{} has {} lines; there is no line {start_line}",
                source.id,
                lines.len()
            ));
        }
        let mut members = budget.share(3);
        let functions = members.list(shown(&facts.functions));
        let signals = members.list(shown(&facts.signals));
        let exports = members.list(shown(&facts.exports));
        let piece = Piece::of(&lines[start_line - 1..], self.max_lines, &mut budget);
        let end_line = start_line - 1 + piece.lines;
        let next_line = (end_line < lines.len()).then_some(end_line + 1);
        let more = next_line.map(|next| format!("There is more: ask again with startLine {next}."));
        let cut = piece
            .cut
            .then(|| format!("Line {end_line} is longer than an answer and was cut."));
        let note: Vec<String> = cut.into_iter().chain(more).collect();
        Ok(ScriptAnswer {
            path: source.id,
            language: source.language,
            total_lines: lines.len(),
            start_line,
            end_line,
            content: piece.text,
            next_line,
            class_name: facts.class_name,
            extends: facts.extends,
            tool: facts.tool,
            functions,
            signals,
            exports,
            faults,
            note: (!note.is_empty()).then(|| note.join(" ")),
        })
    }
}

/// Whole lines that fit.
struct Piece {
    text: String,
    lines: usize,
    /// The only line was too long and was cut.
    cut: bool,
}

impl Piece {
    fn of(lines: &[&str], max_lines: Option<usize>, budget: &mut AnswerBudget) -> Self {
        let mut piece = Self {
            text: String::new(),
            lines: 0,
            cut: false,
        };
        for line in lines.iter().take(max_lines.unwrap_or(usize::MAX).max(1)) {
            if budget.takes(line) {
                piece.text.push_str(line);
                piece.lines += 1;
                continue;
            }
            if piece.lines == 0 {
                // Escaped as JSON a byte takes at most six.
                piece.text = crate::limits::clip(line, budget.bytes_left / 6);
                piece.lines = 1;
                piece.cut = true;
            }
            break;
        }
        piece
    }
}

fn shown(members: &[Member]) -> Vec<MemberAnswer> {
    let shown = members.iter().map(|member| MemberAnswer {
        name: member.name.clone(),
        detail: member.detail.clone(),
        line: member.line,
    });
    shown.collect()
}
