//! How long the texts of a guest may be, as `wit/` states it: what is longer is cut. And how attributes are shown.

use std::collections::BTreeMap;

/// Longest reason, name, and other text.
pub(crate) const REASON_BYTES_MAX: usize = 1024;
pub(crate) const NAME_BYTES_MAX: usize = 64;
pub(crate) const TEXT_BYTES_MAX: usize = 256;

/// Most attributes.
pub(crate) const ATTRIBUTES_MAX: usize = 64;

/// The first bytes of a text, at a character's end.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Cuts a text in place.
pub(crate) fn truncate(text: &mut String, bytes_max: usize) {
    text.truncate(cut(text, bytes_max).len());
}

/// Cuts attributes, their names and their values.
pub(crate) fn truncate_attributes(attributes: &mut Vec<(String, String)>) {
    attributes.truncate(ATTRIBUTES_MAX);
    for (name, value) in attributes {
        truncate(name, TEXT_BYTES_MAX);
        truncate(value, TEXT_BYTES_MAX);
    }
}

/// What attributes take in memory beyond their list, about.
pub(crate) fn attributes_bytes(attributes: &[(String, String)]) -> usize {
    let texts = attributes
        .iter()
        .map(|(name, value)| name.len() + value.len());
    texts.sum::<usize>() + size_of_val(attributes)
}

/// Attributes as they are shown. Of two with the same name the last counts.
pub(crate) fn pairs<'a, T: From<&'a str> + Ord>(
    attributes: &'a [(String, String)],
) -> BTreeMap<T, T> {
    let pairs = attributes.iter();
    pairs
        .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
        .collect()
}
