//! A text file as sections with properties, read tolerantly.

use super::reader::Reader;
use super::variant::{Link, Variant};
use crate::fault::{Flaw, Flaws};
use crate::limits::{NAME_BYTES_MAX, SECTIONS_MAX, clip};

/// A line `key = value`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeyValue {
    /// What precedes the `=`.
    pub(crate) key: String,
    /// What follows it.
    pub(crate) value: Variant,
    /// What the value refers to in the same document, also where the value itself was too long to be kept.
    pub(crate) links: Vec<Link>,
    /// The line it starts on.
    pub(crate) line: u32,
}

/// `[name key=value …]` and the properties below it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Section {
    /// The first name; empty for what precedes any section.
    pub(crate) name: String,
    /// The fields in the brackets.
    pub(crate) fields: Vec<(String, Variant)>,
    /// What the fields refer to.
    pub(crate) links: Vec<Link>,
    /// The lines below.
    pub(crate) properties: Vec<KeyValue>,
    /// The line it starts on.
    pub(crate) line: u32,
}

impl Section {
    fn new(name: &str, line: u32) -> Self {
        Self {
            name: clip(name, NAME_BYTES_MAX),
            fields: Vec::new(),
            links: Vec::new(),
            properties: Vec::new(),
            line,
        }
    }

    /// The field `key`.
    pub(crate) fn field(&self, key: &str) -> Option<&Variant> {
        self.fields
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// The text of the field `key`; a number is turned into text, as Godot 3 writes ids.
    pub(crate) fn field_text(&self, key: &str) -> Option<String> {
        match self.field(key)? {
            Variant::Int(number) => Some(number.to_string()),
            other => other.as_text().map(|text| clip(text, NAME_BYTES_MAX)),
        }
    }

    /// The property `key`.
    pub(crate) fn property(&self, key: &str) -> Option<&KeyValue> {
        self.properties.iter().find(|property| property.key == key)
    }
}

/// A text file, read.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// Its sections; the first has no name and holds what precedes any bracket.
    pub(crate) sections: Vec<Section>,
}

impl Document {
    /// Reads `text`. What cannot be read goes to `flaws`.
    pub(crate) fn read(text: &str, flaws: &mut Flaws) -> Self {
        let mut reader = Reader::new(text);
        let mut document = Self {
            sections: vec![Section::new("", 1)],
        };
        // Where the property before started and on which line it ended, if it took several.
        let mut before: Option<((usize, u32), u32)> = None;
        loop {
            reader.skip_blank();
            let started = reader.mark();
            let outcome = match reader.peek() {
                None => return document,
                Some(b'[') => document.read_section(&mut reader, flaws),
                Some(_) => document.read_property(&mut reader),
            };
            if document.sections.len() > SECTIONS_MAX {
                let what = format!("more than {SECTIONS_MAX} sections; the rest is not read");
                flaws.push(Flaw::at(reader.line(), what));
                return document;
            }
            match (outcome, before) {
                // A text without its closing quote ends at the next quote, in the middle of another line,
                // whose rest then makes no sense.
                (Err(_), Some((property, ended))) if ended == started.1 => {
                    let what = "the value that starts here swallows the lines below; a quote or bracket is missing";
                    flaws.push(Flaw::at(property.1, what));
                    document.drop_last_property();
                    recover(&mut reader, property);
                }
                (Err(flaw), _) => {
                    flaws.push(flaw);
                    recover(&mut reader, started);
                }
                (Ok(()), _) if reader.line() > started.1 => {
                    before = Some((started, reader.line()));
                    continue;
                }
                (Ok(()), _) => {}
            }
            before = None;
            if flaws.is_full() {
                return document;
            }
        }
    }

    /// Whether nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        let mut sections = self.sections.iter();
        sections.all(|section| section.name.is_empty() && section.properties.is_empty())
    }

    fn drop_last_property(&mut self) {
        if let Some(section) = self.sections.last_mut() {
            section.properties.pop();
        }
    }

    /// The sections called `name`.
    pub(crate) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Section> {
        self.sections
            .iter()
            .filter(move |section| section.name == name)
    }

    fn read_section(&mut self, reader: &mut Reader<'_>, flaws: &mut Flaws) -> Result<(), Flaw> {
        let line = reader.line();
        reader.bump();
        skip_spaces(reader);
        let name = reader.take_while(|byte| !byte.is_ascii_whitespace() && byte != b']');
        let mut section = Section::new(name, line);
        reader.take_links();
        let outcome = read_fields(reader, &mut section);
        section.links = reader.take_links();
        // A section that breaks off is kept with what it has: the lines below belong to it.
        self.sections.push(section);
        match outcome {
            Err(flaw) if reader.line() == line => {
                flaws.push(flaw);
                reader.skip_line();
                Ok(())
            }
            other => other,
        }
    }

    fn read_property(&mut self, reader: &mut Reader<'_>) -> Result<(), Flaw> {
        let line = reader.line();
        let key = if reader.peek() == Some(b'"') {
            let key = reader.string()?;
            skip_spaces(reader);
            key
        } else {
            let shown = reader.rest_of_line();
            let key = reader.take_while(|byte| byte != b'=' && byte != b'\n');
            if reader.peek() != Some(b'=') || key.contains('"') {
                let what = format!("expected `key = value`, found `{}`", clip(shown.trim(), 60));
                return Err(Flaw::at(line, what));
            }
            key.trim().to_owned()
        };
        if key.is_empty() || !reader.take(b'=') {
            return Err(Flaw::at(line, "expected `key = value`"));
        }
        reader.take_links();
        let value = reader.value()?;
        let links = reader.take_links();
        let section = self
            .sections
            .last_mut()
            .expect("the nameless section is always there");
        section.properties.push(KeyValue {
            key: clip(&key, NAME_BYTES_MAX),
            value,
            links,
            line,
        });
        Ok(())
    }
}

fn skip_spaces(reader: &mut Reader<'_>) {
    reader.take_while(|byte| byte == b' ' || byte == b'\t');
}

fn read_fields(reader: &mut Reader<'_>, section: &mut Section) -> Result<(), Flaw> {
    loop {
        skip_spaces(reader);
        if reader.take(b']') {
            return Ok(());
        }
        let key =
            reader.take_while(|byte| !byte.is_ascii_whitespace() && !b"=]\"[".contains(&byte));
        skip_spaces(reader);
        if key.is_empty() || !reader.take(b'=') {
            return Err(reader.flaw(format!(
                "the section [{} … is not closed by `]`, or one of its fields has no value",
                clip(&section.name, 40)
            )));
        }
        let value = reader.value()?;
        section.fields.push((clip(key, NAME_BYTES_MAX), value));
    }
}

/// Goes to the next line that seems to start a section or a property.
///
/// What failed may have swallowed good lines (a text without its closing quote ends at the next quote, or with
/// the file), so the search starts on the line after the one where the failing construct started.
fn recover(reader: &mut Reader<'_>, started: (usize, u32)) {
    reader.go_to(started);
    loop {
        reader.skip_line();
        if reader.bump().is_none() || seems_like_start(reader.rest_of_line()) {
            return;
        }
    }
}

fn seems_like_start(line: &str) -> bool {
    let line = line.trim_end();
    if let Some(rest) = line.strip_prefix('[') {
        return rest.starts_with(|first: char| first.is_ascii_alphabetic());
    }
    let Some((key, _)) = line.split_once('=') else {
        return false;
    };
    let key = key.trim_end();
    key.starts_with(|first: char| first.is_ascii_alphabetic() || "_\"0123456789".contains(first))
        && key
            .chars()
            .all(|part| part.is_alphanumeric() || "_/.:@-\" ".contains(part))
}

#[cfg(test)]
mod tests;
