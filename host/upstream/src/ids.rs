//! The ids that the router puts on the wire to an instance.
//!
//! They are strings, because servers written in languages whose numbers are floats (`GDScript` among them) give integer
//! ids back as `7.0`. They carry the router's epoch, so that an answer to a question of an earlier router is recognised.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    io::Write as _,
};

/// A table whose keys the router counts up itself. Clients do not choose them, so that a hash need not be hard to foresee.
pub(crate) type Table<K, V> = HashMap<K, V, BuildHasherDefault<CounterHasher>>;

/// Spreads a counter over all bits by one multiplication (Knuth, "Fibonacci hashing").
#[derive(Default)]
pub(crate) struct CounterHasher(u64);

impl Hasher for CounterHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        // 2^64 divided by the golden ratio, which is odd.
        let spread = (self.0 ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // The table uses the highest and the lowest bits.
        self.0 = spread ^ (spread >> 32);
    }
}

/// Writes and reads the ids of one connection.
#[derive(Debug, Clone)]
pub(crate) struct IdFormat {
    /// `"prefix.`
    head: String,
}

impl IdFormat {
    /// Ids that start with `prefix`, whose characters outside letters, digits and `-` are left out.
    pub(crate) fn new(prefix: &str) -> Self {
        let prefix: String = prefix
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
            .collect();
        Self {
            head: format!("\"{prefix}."),
        }
    }

    /// Appends the id of request `n` as raw JSON.
    pub(crate) fn write(&self, n: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head.as_bytes());
        write!(out, "{n}\"").expect("a vector takes every byte");
    }

    /// The id of request `n` as raw JSON.
    pub(crate) fn raw(&self, n: u64) -> Vec<u8> {
        let mut raw = Vec::with_capacity(self.head.len() + 12);
        self.write(n, &mut raw);
        raw
    }

    /// Which request a raw JSON id means, if it is one of ours.
    pub(crate) fn read(&self, raw: &str) -> Option<u64> {
        let digits = raw.strip_prefix(&self.head)?.strip_suffix('"')?;
        // `parse` would also take a sign.
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok()
    }

    /// The last id of ours in a piece of text that is not a whole message.
    pub(crate) fn find_last(&self, text: &[u8]) -> Option<u64> {
        let at = memchr::memmem::rfind(text, self.head.as_bytes())?;
        let digits: Vec<u8> = text[at + self.head.len()..]
            .iter()
            .copied()
            .take_while(u8::is_ascii_digit)
            .collect();
        std::str::from_utf8(&digits).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::IdFormat;

    #[test]
    fn ids_read_back_and_foreign_ones_do_not() {
        let ids = IdFormat::new("e 7\"");
        assert_eq!(ids.raw(42), b"\"e7.42\"");
        let cases = [
            ("\"e7.42\"", Some(42)),
            ("\"e6.42\"", None),
            ("\"e7.+42\"", None),
            ("\"e7.s1\"", None),
            ("\"e7.\"", None),
            ("42", None),
            ("null", None),
            ("\"e7.99999999999999999999999\"", None),
        ];
        for (raw, expected) in cases {
            assert_eq!(ids.read(raw), expected, "{raw}");
        }
        assert_eq!(
            ids.find_last(b"xx\"id\":\"e7.3\", .. \"id\": \"e7.12\"}"),
            Some(12)
        );
        assert_eq!(ids.find_last(b"nothing"), None);
    }
}
