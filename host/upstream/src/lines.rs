//! Newline framing of what an instance writes, with a bound on the length of a line.
//!
//! Lines are handed out in place, without a copy. A line past the bound is skipped to its end, and only its two ends are
//! kept, so that the request that it answers can still be found.

use std::io;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What one read asks for: the capacity of a pipe.
const READ_BYTES: usize = 64 * 1024;

/// A buffer that grew past this for one long line is given back afterwards.
const KEEP_BYTES_MAX: usize = 1024 * 1024;

/// How much of each end of an overlong line is kept: an id stands at the beginning or at the end of a message.
const END_BYTES: usize = 512;

/// The lines of one stream.
pub(crate) struct LineReader {
    buffer: BytesMut,
    /// Where the next line begins.
    start: usize,
    /// Everything before this is known to hold no line end.
    scanned: usize,
    line_bytes_max: usize,
    overlong: Option<LineEnds>,
}

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReceivedLine<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// The first and the last bytes of a line past the bound.
    Overlong(LineEnds),
}

/// Both ends of a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LineEnds {
    pub(crate) head: Vec<u8>,
    pub(crate) tail: Vec<u8>,
}

impl LineEnds {
    /// Those of a line that is there as a whole.
    pub(crate) fn of(line: &[u8]) -> Self {
        Self {
            head: line[..line.len().min(END_BYTES)].to_vec(),
            tail: line[line.len().saturating_sub(END_BYTES)..].to_vec(),
        }
    }
}

impl LineReader {
    pub(crate) fn new(line_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            start: 0,
            scanned: 0,
            line_bytes_max,
            overlong: None,
        }
    }

    /// Reads more; 0 at the end of the stream. Safe to drop at its await: what was read stays.
    pub(crate) async fn fill<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> io::Result<usize> {
        self.buffer.advance(self.start);
        self.scanned -= self.start;
        self.start = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP_BYTES_MAX {
            self.buffer = BytesMut::new();
        }
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 2 {
            self.buffer.reserve(READ_BYTES);
        }
        reader.read_buf(&mut self.buffer).await
    }

    /// The next line that is there as a whole.
    pub(crate) fn next_line(&mut self) -> Option<ReceivedLine<'_>> {
        let found = memchr::memchr(b'\n', &self.buffer[self.scanned..]);
        let Some(found) = found else {
            self.scanned = self.buffer.len();
            if self.overlong.is_some() || self.buffer.len() - self.start > self.line_bytes_max {
                self.skip(self.buffer.len());
            }
            return None;
        };
        let end = self.scanned + found;
        let begin = self.start;
        if self.overlong.is_some() || end - begin > self.line_bytes_max {
            self.skip(end);
        }
        self.start = end + 1;
        self.scanned = end + 1;
        if let Some(ends) = self.overlong.take() {
            return Some(ReceivedLine::Overlong(ends));
        }
        Some(ReceivedLine::Whole(&self.buffer[begin..end]))
    }

    /// Drops everything up to `end`, which belongs to an overlong line, but for the line's ends.
    fn skip(&mut self, end: usize) {
        let part = &self.buffer[self.start..end];
        let ends = self.overlong.get_or_insert_with(|| LineEnds {
            head: part[..part.len().min(END_BYTES)].to_vec(),
            tail: Vec::new(),
        });
        ends.tail
            .extend_from_slice(&part[part.len().saturating_sub(END_BYTES)..]);
        let surplus = ends.tail.len().saturating_sub(END_BYTES);
        ends.tail.drain(..surplus);
        self.start = end;
        self.scanned = end;
    }
}

#[cfg(test)]
mod tests {
    use super::{LineEnds, LineReader, ReceivedLine};

    /// Feeds `chunks` one read at a time, and returns the lines as text.
    async fn lines(chunks: &[&[u8]], max: usize) -> Vec<String> {
        let mut reader = LineReader::new(max);
        let mut seen = Vec::new();
        for chunk in chunks {
            let mut source: &[u8] = chunk;
            while reader.fill(&mut source).await.unwrap() > 0 {
                while let Some(line) = reader.next_line() {
                    seen.push(match line {
                        ReceivedLine::Whole(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                        ReceivedLine::Overlong(LineEnds { head, tail }) => {
                            format!(
                                "<{}..{}>",
                                String::from_utf8_lossy(&head),
                                String::from_utf8_lossy(&tail)
                            )
                        }
                    });
                }
            }
        }
        seen
    }

    #[tokio::test]
    async fn lines_are_found_however_they_are_cut() {
        let cases: [(&[&[u8]], &[&str]); 5] = [
            (&[b"a\nbc\n"], &["a", "bc"]),
            (&[b"a", b"b", b"\n", b"c\nd"], &["ab", "c"]),
            (&[b"\n\n"], &["", ""]),
            (&[b"123456789\nok\n"], &["<123456789..123456789>", "ok"]),
            (
                &[b"12345", b"6789", b"abc\nok\n"],
                &["<12345..123456789abc>", "ok"],
            ),
        ];
        for (chunks, expected) in cases {
            let seen = lines(chunks, 4).await;
            assert_eq!(seen, expected, "{chunks:?}");
        }
    }

    #[tokio::test]
    async fn an_overlong_line_costs_no_memory() {
        let mut reader = LineReader::new(1000);
        let flood = vec![b'x'; 64 * 1024];
        for _ in 0..100 {
            let mut source: &[u8] = &flood;
            while reader.fill(&mut source).await.unwrap() > 0 {
                assert_eq!(reader.next_line(), None);
            }
        }
        let mut end: &[u8] = b"END\nnext\n";
        reader.fill(&mut end).await.unwrap();
        let Some(ReceivedLine::Overlong(ends)) = reader.next_line() else {
            panic!("the long line was not reported");
        };
        assert!(ends.tail.ends_with(b"END") && ends.tail.len() == 512);
        assert_eq!(reader.next_line(), Some(ReceivedLine::Whole(b"next")));
        assert!(
            reader.buffer.capacity() < 512 * 1024,
            "{}",
            reader.buffer.capacity()
        );
    }
}
