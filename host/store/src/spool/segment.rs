//! One file of the spool: facts as lines of JSON, appended and fsynced, read back whole, removed when they are in the
//! database. A line counts when it is whole: the torn end that a power cut leaves is skipped.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    path::Path,
};

use router_values::segment::SegmentName;

use crate::facts::Fact;

/// The files of the spool.
pub(super) const FACTS: SegmentName = SegmentName {
    prefix: "facts-",
    suffix: ".jsonl",
};

/// What a file held.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) facts: Vec<Fact>,
    /// The unfinished last line of a writer that was killed.
    pub(super) torn: bool,
    /// Whole lines that are no facts: a damaged disk, or another program's file.
    pub(super) foreign: Vec<Vec<u8>>,
}

/// How many lines a file has: what waits in it, without understanding it. A start must not take long over a large spool.
pub(super) fn count(path: &Path) -> io::Result<u64> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut lines = 0;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(lines);
        }
        lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let length = bytes.len();
        reader.consume(length);
    }
}

/// Reads a file whole.
pub(super) fn read(path: &Path) -> io::Result<Contents> {
    let bytes = std::fs::read(path)?;
    let mut contents = Contents::default();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match (serde_json::from_slice(line), line.last()) {
            (Ok(fact), _) => contents.facts.push(fact),
            (Err(_), Some(b'\n')) => contents.foreign.push(line.to_vec()),
            (Err(_), _) => contents.torn = true,
        }
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use router_values::segment::{OpenSegment, SegmentFile};

    use super::{FACTS, read};
    use crate::facts::{Fact, RowOrigin};

    fn fact(instance: &str) -> Fact {
        let writer = RowOrigin::new("r", 1);
        Fact::intention(instance, true, &writer)
    }

    #[test]
    fn whatever_length_a_killed_writer_left_whole_lines_are_read_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let facts = [fact("a"), fact("b"), fact("c")];
        let mut lines = Vec::new();
        let mut ends = vec![0];
        for fact in &facts {
            fact.write_line(&mut lines);
            ends.push(lines.len());
        }
        let path = dir.path().join("torn");
        for length in 0..=lines.len() {
            std::fs::write(&path, &lines[..length]).unwrap();
            let contents = read(&path).unwrap();
            // A line that lacks nothing but its newline is whole too.
            let whole = ends[1..].iter().filter(|end| **end <= length + 1).count();
            assert_eq!(contents.facts, facts[..whole], "cut at {length}");
            let at_an_end = ends.iter().any(|end| *end == length || *end == length + 1);
            assert_eq!(contents.torn, !at_an_end, "cut at {length}");
            assert!(contents.foreign.is_empty());
        }
    }

    #[test]
    fn foreign_lines_are_set_apart_and_cost_no_neighbour() {
        let dir = tempfile::tempdir().unwrap();
        let mut segment = OpenSegment::create(dir.path(), FACTS, 3).unwrap();
        let mut lines = Vec::new();
        fact("a").write_line(&mut lines);
        lines.extend_from_slice(b"\xff\xfe garbage\n{}\n");
        fact("b").write_line(&mut lines);
        segment.append(&lines).unwrap();
        let contents = read(segment.path()).unwrap();
        assert_eq!(contents.facts.len(), 2);
        assert_eq!(contents.foreign.len(), 2);
        let listed = FACTS.list(dir.path()).unwrap();
        let expected = SegmentFile {
            number: 3,
            path: segment.path().to_owned(),
            bytes: lines.len() as u64,
        };
        assert_eq!(listed, [expected]);
    }
}
