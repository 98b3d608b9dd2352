//! Names that a parser may take for one another.
//!
//! Some JSON parsers compare the names of members without case: Go's `encoding/json`; .NET's and Jackson's have an option for it. To them `"ID"`
//! is an id, and the last of several counts. What the router reads by one name must not say something else to such a server.

/// Whether a name is taken for `known`, which is ASCII, by a parser that compares without case, without being it.
pub(super) fn is_taken_for(name: &str, known: &str) -> bool {
    name != known && folded(name).eq(folded(known))
}

/// Simple case folding (Unicode, CaseFolding.txt), as far as it leads to ASCII: two letters outside of it fold into it, and Java's
/// comparison takes both Turkish `i` for the plain one.
fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().map(|char| match char {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{130}' | '\u{131}' => 'i',
        other => other.to_ascii_lowercase(),
    })
}

#[cfg(test)]
mod tests {
    use super::is_taken_for;

    #[test]
    fn names_that_differ_in_case_are_taken_for_one_another() {
        for (name, known, is_taken) in [
            ("ID", "id", true),
            ("Id", "id", true),
            ("\u{131}d", "id", true),
            ("\u{130}D", "id", true),
            ("re\u{17f}ult", "result", true),
            ("progressTo\u{212a}en", "progressToken", true),
            ("id", "id", false),
            ("ids", "id", false),
            ("i", "id", false),
            ("_id", "id", false),
            ("", "id", false),
            ("íd", "id", false),
        ] {
            assert_eq!(is_taken_for(name, known), is_taken, "{name}");
        }
    }
}
