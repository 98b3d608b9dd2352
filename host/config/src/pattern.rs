//! Texts with placeholders: `{name}` stands for a value, `{{` and `}}` for the signs themselves.

use router_values::quoted;

use crate::names::is_variable;

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    Plain(&'t str),
    Placeholder(&'t str),
}

/// Takes a text apart.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        if at > 0 {
            pieces.push(Piece::Plain(&rest[..at]));
        }
        let sign = &rest[at..=at];
        rest = &rest[at + 1..];
        if rest.starts_with(sign) {
            pieces.push(Piece::Plain(&rest[..1]));
            rest = &rest[1..];
            continue;
        }
        if sign == "}" {
            return Err(format!("{} has a }} without a {{ before it", quoted(text)));
        }
        let end = rest
            .find('}')
            .ok_or_else(|| format!("{} has a {{ that is not closed", quoted(text)))?;
        let name = &rest[..end];
        if !is_variable(name) {
            return Err(format!(
                "{} is not the name of a placeholder",
                quoted(&format!("{{{name}}}"))
            ));
        }
        pieces.push(Piece::Placeholder(name));
        rest = &rest[end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Plain(rest));
    }
    Ok(pieces)
}

/// The names in a text.
pub(crate) fn names(text: &str) -> impl Iterator<Item = &str> {
    let pieces = parse(text).unwrap_or_default();
    pieces.into_iter().filter_map(|piece| match piece {
        Piece::Placeholder(name) => Some(name),
        Piece::Plain(_) => None,
    })
}

/// Puts values in; a name without one becomes nothing.
pub(crate) fn fill<'v>(text: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let pieces = parse(text).unwrap_or_default();
    let shown = pieces.into_iter().map(|piece| match piece {
        Piece::Plain(plain) => plain.to_owned(),
        Piece::Placeholder(name) => value(name).unwrap_or_default().to_owned(),
    });
    shown.collect()
}

/// How long [`fill`]'s text is, in bytes. It may be far longer than what it is made from.
pub(crate) fn filled_bytes<'v>(text: &str, value: impl Fn(&str) -> Option<&'v str>) -> usize {
    let pieces = parse(text).unwrap_or_default();
    let lengths = pieces.into_iter().map(|piece| match piece {
        Piece::Plain(plain) => plain.len(),
        Piece::Placeholder(name) => value(name).map_or(0, str::len),
    });
    lengths.fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::{fill, filled_bytes, names, parse};

    #[test]
    fn placeholders_are_filled_once_and_signs_are_kept() {
        let value = |name: &str| match name {
            "a" => Some("{b}"),
            "b" => Some("B"),
            _ => None,
        };
        for (text, filled) in [
            ("plain", "plain"),
            ("{a}{b}", "{b}B"),
            ("--x={b}", "--x=B"),
            ("{{a}}", "{a}"),
            (r#"{{"k":"{b}"}}"#, r#"{"k":"B"}"#),
            ("{{{b}}}", "{B}"),
            ("ä{b}ö", "äBö"),
            ("", ""),
        ] {
            assert_eq!(fill(text, value), filled, "{text}");
            assert_eq!(filled_bytes(text, value), filled.len(), "{text}");
        }
        assert_eq!(names("{a}{{x}}{b}{a}").collect::<Vec<_>>(), ["a", "b", "a"]);
    }

    #[test]
    fn what_is_no_placeholder_is_refused() {
        for text in [
            "{", "}", "{}", "{a", "a}", "{a b}", "{1}", "{a{b}", "{{a}", "{ä}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
