//! Did you mean …?

/// The name most like `text`, if one is like enough for a slip of the fingers.
#[must_use]
pub fn nearest<'w>(text: &str, names: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    /// Longer texts are no slips, and the distance takes quadratic time.
    const TEXT_BYTES_MAX: usize = 80;
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let distance = |name: &'w str| (strsim::damerau_levenshtein(text, name), name);
    let (distance, name) = names.into_iter().map(distance).min()?;
    let allowed = (text.chars().count().max(name.chars().count()) / 3).max(1);
    (distance <= allowed && distance < name.chars().count()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_slips_are_corrected() {
        let names = [
            "listen",
            "allowed_hosts",
            "allowed_origins",
            "public_metrics",
        ];
        for (text, near) in [
            ("lisen", Some("listen")),
            ("listen_", Some("listen")),
            ("allowed_host", Some("allowed_hosts")),
            ("alowed_orgins", Some("allowed_origins")),
            ("port", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, names), near, "{text}");
        }
    }
}
