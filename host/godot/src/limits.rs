//! Every bound of this room, each with where its value comes from.
//!
//! A project folder is input that anybody may have written: whatever is read from it is bounded
//! here, and what a bound cut off is said in the answer, never dropped in silence.

/// How much of a project one instance reads and how large one answer may grow.
///
/// The defaults suit real projects on small machines; tests shrink them to reach every bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectLimits {
    /// The largest text file that is parsed, in bytes. Scenes with embedded meshes reach a few
    /// megabytes; what is larger belongs in a binary resource and only its existence is recorded.
    pub file_bytes_max: u64,
    /// How many files one project may hold. The largest open-source Godot games stay under 15,000.
    pub files_max: usize,
    /// How many bytes of text are parsed for one project. The index takes up to five times as much
    /// memory (measured on 300,000 small nodes); the text of real projects stays under 50 MB.
    pub total_bytes_max: u64,
    /// How deep folders may be nested below the project's root.
    pub folder_depth_max: usize,
    /// The size of one answer as JSON, in bytes. MCP clients put answers into a model's context, where
    /// 128 KiB is already much; the text copy beside the structured one doubles it on the wire.
    pub answer_bytes_max: usize,
}

impl Default for ProjectLimits {
    fn default() -> Self {
        Self {
            file_bytes_max: 8 * 1024 * 1024,
            files_max: 20_000,
            total_bytes_max: 96 * 1024 * 1024,
            folder_depth_max: 64,
            answer_bytes_max: 128 * 1024,
        }
    }
}

/// Faults kept per file: after so many the file is no Godot file at all, and reading on would cost
/// a pass over the rest of the file for each further one.
pub(crate) const FAULTS_PER_FILE_MAX: usize = 32;

/// Nesting of values in a text resource. Godot's own reader gives up at 100 levels.
pub(crate) const VALUE_DEPTH_MAX: usize = 100;

/// Values kept per array, dictionary or call. Longer ones are data (tiles, vertices), not structure;
/// they are read to their end but their tail is not stored.
pub(crate) const ITEMS_KEPT_MAX: usize = 1_024;

/// Values kept per document, so that a file of the largest size cannot become gigabytes of values.
pub(crate) const VALUES_KEPT_MAX: usize = 400_000;

/// Sections kept per document, for the same reason; a scene of 50,000 nodes does not open in the editor either.
pub(crate) const SECTIONS_MAX: usize = 50_000;

/// Length of a name, class or path kept from a file, in bytes: a file system path is at most 4,096.
pub(crate) const NAME_BYTES_MAX: usize = 1_024;

/// Length of one property value as shown to a client, in bytes.
pub(crate) const PROPERTY_TEXT_BYTES_MAX: usize = 160;

/// Properties kept per node. The inspector's longest real node has about 90 that differ from their defaults.
pub(crate) const PROPERTIES_PER_NODE_MAX: usize = 96;

/// Tokens examined together as one logical line of a script; longer ones are cut into pieces.
pub(crate) const LINE_TOKENS_MAX: usize = 4_096;

/// Members (functions, signals, exports), references or symbols kept per script.
pub(crate) const SCRIPT_FACTS_MAX: usize = 2_048;

/// How many scenes deep a node's type is sought through instances and inheritance.
pub(crate) const INSTANCE_DEPTH_MAX: usize = 32;

/// Groups kept per node.
pub(crate) const GROUPS_PER_NODE_MAX: usize = 64;

/// Files that one node uses, directly and through sub-resources; a real node uses a few
/// dozen at most, and without a bound many nodes sharing one large sub-resource would cost their product.
pub(crate) const USES_PER_NODE_MAX: usize = 256;

/// Levels of a scene's tree that are climbed to find the instance that a node came with.
pub(crate) const NODE_DEPTH_MAX: usize = 64;

/// Faults of the whole project that are repeated in answers about something else; `get_project` lists more.
pub(crate) const FAULTS_BESIDE_MAX: usize = 20;

/// Faults, missing references, cycles or isolated files listed in one answer; totals are always exact.
pub(crate) const LISTED_MAX: usize = 100;

/// Cuts `text` to at most `max` bytes at a character boundary.
pub(crate) fn clip(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
