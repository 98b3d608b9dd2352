//! The names of rotated files, and which of them are deleted.

use std::{
    cmp::Reverse,
    fs, io,
    path::{Path, PathBuf},
};

use router_values::Day;

use super::FILE_NAME;

/// Most files of one day: a flood that fills more is lost in the last one.
const NUMBERS_MAX: u32 = 9_999;

/// The part of the file's name before `.log`.
fn stem() -> &'static str {
    FILE_NAME.trim_end_matches(".log")
}

/// A name for the present file, of a day, that is not taken.
pub(super) fn free_name(dir: &Path, day: Day) -> io::Result<PathBuf> {
    let plain = format!("{}.{day}.log", stem());
    let numbered = (1..=NUMBERS_MAX).map(|number| format!("{}.{day}.{number}.log", stem()));
    for name in std::iter::once(plain).chain(numbered) {
        let path = dir.join(name);
        if !path.try_exists()? {
            return Ok(path);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("{NUMBERS_MAX} rotated log files of {day}"),
    ))
}

/// The day and number in a rotated file's name; `None` for any other name, which is not ours to delete.
fn parse(name: &str) -> Option<(Day, u32)> {
    let rest = name
        .strip_prefix(stem())?
        .strip_prefix('.')?
        .strip_suffix(".log")?;
    match rest.split_once('.') {
        None => Some((Day::parse(rest)?, 0)),
        Some((day, number)) => {
            let parsed: u32 = number.parse().ok()?;
            (parsed.to_string() == number).then_some((Day::parse(day)?, parsed))
        }
    }
}

/// Deletes what is older than `keep_days` before `today`, then the oldest until the rest takes at most `keep_bytes`.
pub(super) fn prune(
    dir: &Path,
    today: Day,
    keep_days: Option<u32>,
    keep_bytes: Option<u64>,
) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let parsed = entry.file_name().to_str().and_then(parse);
        // A file that vanishes meanwhile was deleted by somebody else.
        if let (Some(key), Ok(metadata)) = (parsed, entry.metadata())
            && metadata.is_file()
        {
            files.push((key, metadata.len(), entry.path()));
        }
    }
    // The newest first.
    files.sort_by_key(|(key, ..)| Reverse(*key));
    let mut total = 0_u64;
    let mut result = Ok(());
    for ((day, _), bytes, path) in files {
        total = total.saturating_add(bytes);
        let too_old = keep_days.is_some_and(|days| day < today.minus(days));
        let too_much = keep_bytes.is_some_and(|max| total > max);
        if too_old || too_much {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => result = Err(error),
                _ => total -= bytes,
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Day, free_name, parse, prune};

    fn day(text: &str) -> Day {
        Day::parse(text).unwrap()
    }

    fn names(dir: &std::path::Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_our_own_rotated_names_are_known() {
        assert_eq!(
            parse("godot-mcp-router.2026-01-02.log"),
            Some((day("2026-01-02"), 0))
        );
        assert_eq!(
            parse("godot-mcp-router.2026-01-02.12.log"),
            Some((day("2026-01-02"), 12))
        );
        for other in [
            "godot-mcp-router.log",
            "godot-mcp-router.2026-01-02.log.gz",
            "godot-mcp-router.2026-02-30.log",
            "godot-mcp-router.2026-01-02.01.log",
            "godot-mcp-router.2026-01-02.x.log",
            "godot-mcp-router2.2026-01-02.log",
            "demo.2026-01-02.log",
            "audit.log",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn old_files_go_then_the_oldest_until_the_rest_is_small_enough() {
        let dir = tempfile::tempdir().unwrap();
        let write =
            |name: &str, bytes: usize| fs::write(dir.path().join(name), vec![b'x'; bytes]).unwrap();
        write("godot-mcp-router.log", 500);
        write("godot-mcp-router.2026-01-01.log", 10);
        write("godot-mcp-router.2026-01-05.log", 100);
        write("godot-mcp-router.2026-01-05.1.log", 100);
        write("godot-mcp-router.2026-01-06.log", 100);
        write("somebody-elses.2020-01-01.log", 10);
        prune(dir.path(), day("2026-01-07"), Some(5), Some(250)).unwrap();
        let left = [
            "godot-mcp-router.2026-01-05.1.log",
            "godot-mcp-router.2026-01-06.log",
            "godot-mcp-router.log",
            "somebody-elses.2020-01-01.log",
        ];
        assert_eq!(names(dir.path()), left);
        prune(dir.path(), day("2026-01-07"), None, None).unwrap();
        assert_eq!(names(dir.path()), left);
    }

    #[test]
    fn a_taken_name_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        for expected in [
            "godot-mcp-router.2026-01-02.log",
            "godot-mcp-router.2026-01-02.1.log",
            "godot-mcp-router.2026-01-02.2.log",
        ] {
            let path = free_name(dir.path(), day("2026-01-02")).unwrap();
            assert_eq!(path, dir.path().join(expected));
            fs::write(path, "x").unwrap();
        }
    }
}
