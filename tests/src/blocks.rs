//! The blocks of a document that a test takes at their word: fenced as `sh run=NAME`, or with another language in the place of `sh`.

use std::{fs, path::Path};

/// What can be tested; other blocks are pictures.
const LANGUAGES: [&str; 4] = ["sh", "bash", "toml", "rust"];

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What it is written in.
    pub language: String,
    /// Its name, unlike all others in its document.
    pub name: String,
    /// The heading that it stands under.
    pub section: String,
    /// What stands in it.
    pub text: String,
    /// The line of its fence, from 1.
    pub line: usize,
    /// Whether it is to be run.
    pub is_run: bool,
}

/// Every fenced block of a document in one of the languages. Those that are not to be run have an empty name.
#[must_use]
pub fn read(path: &Path) -> Vec<Block> {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse(&text)
}

fn parse(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut section = String::new();
    let mut open: Option<Option<Block>> = None;
    for (index, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(tag)) => open = Some(opened(tag, &section, index + 1)),
            (None, None) => {
                if line.starts_with('#') {
                    section = line.trim_start_matches('#').trim().to_owned();
                }
            }
            (Some(_), Some("")) => blocks.extend(open.take().flatten()),
            (Some(Some(block)), _) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (Some(None), _) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    for (index, block) in blocks.iter().enumerate() {
        let twice = blocks[..index]
            .iter()
            .any(|other| block.is_run && other.name == block.name);
        assert!(!twice, "two blocks are called {}", block.name);
    }
    blocks
}

fn opened(tag: &str, section: &str, line: usize) -> Option<Block> {
    let mut parts = tag.split_whitespace();
    let language = parts.next().filter(|part| LANGUAGES.contains(part))?;
    let name = parts.find_map(|part| part.strip_prefix("run="));
    Some(Block {
        language: language.to_owned(),
        name: name.unwrap_or_default().to_owned(),
        section: section.to_owned(),
        text: String::new(),
        line,
        is_run: name.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn blocks_are_found_with_their_names_and_sections() {
        let text =
            "# A\n```sh run=one\necho 1\n```\n## B\n```text\nx = 1\n```\n```toml\nkey = 1\n```\n";
        let blocks = parse(text);
        let seen: Vec<_> = blocks
            .iter()
            .map(|block| {
                (
                    block.language.as_str(),
                    block.name.as_str(),
                    block.section.as_str(),
                    block.text.as_str(),
                    block.line,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("sh", "one", "A", "echo 1\n", 2),
                ("toml", "", "B", "key = 1\n", 9)
            ]
        );
    }

    #[test]
    #[should_panic(expected = "two blocks are called one")]
    fn a_name_names_one_block() {
        parse("```sh run=one\n```\n```sh run=one\n```\n");
    }
}
