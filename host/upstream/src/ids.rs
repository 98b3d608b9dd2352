//! The ids that the router puts on the wire: towards an instance those of requests, towards clients those of the instance's questions.
//!
//! Requests have integers, because servers in C, Swift and others read ids as such. Each is drawn at random: an id that could be
//! foreseen could be answered, cancelled or reported on by a client that it is not meant for, and with an id of an earlier router none of
//! this one's is answered. They have 14 digits each: a double holds them exactly and is written with all of them, by servers whose numbers
//! are floats (`GDScript` among them) as `12345678901234.0`, and so answers match by value.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    io::Write as _,
    ops::RangeInclusive,
};

use rand::RngExt as _;

/// The digits of a request's id.
const DIGITS: usize = 14;

/// All numbers of that many digits.
const IDS: RangeInclusive<u64> = 10_u64.pow(13)..=10_u64.pow(14) - 1;

/// Longest text that is read as a number: a float with all its digits, its sign and its exponent takes 24.
const NUMBER_BYTES_MAX: usize = 32;

/// A table whose keys the router chooses itself. Clients do not, so that a hash need not be hard to foresee.
pub(crate) type Table<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// Spreads a number over all bits by one multiplication (Knuth, "Fibonacci hashing").
#[derive(Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
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

/// An id for a request, unlike those in flight. It ends: few of 90,000,000,000,000 are.
pub(crate) fn draw_request_id(is_in_flight: impl Fn(u64) -> bool) -> u64 {
    let mut rng = rand::rng();
    loop {
        let id = rng.random_range(IDS);
        if !is_in_flight(id) {
            return id;
        }
    }
}

/// Which request a raw JSON id or progress token names, whatever type it came back as: `7`, `7.0`, `7e0` or `"7"`.
pub(crate) fn read_request_id(raw: &str) -> Option<u64> {
    let unquoted = raw
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let text = unquoted.unwrap_or(raw);
    if let Some(id) = parse_digits(text.as_bytes()) {
        return Some(id);
    }
    // `parse` would also take `inf`, `nan` and signs.
    if text.len() > NUMBER_BYTES_MAX || !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    // All of these are exact, and written without an exponent.
    (number.fract() == 0.0).then(|| parse_digits(number.to_string().as_bytes()))?
}

/// The last id of a request in flight in a piece of text that is not a whole message.
pub(crate) fn find_last_request_id(text: &[u8], is_in_flight: impl Fn(u64) -> bool) -> Option<u64> {
    let digits = text.rsplit(|byte| !byte.is_ascii_digit());
    digits.filter_map(parse_digits).find(|id| is_in_flight(*id))
}

fn parse_digits(digits: &[u8]) -> Option<u64> {
    if digits.len() != DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let id = digits
        .iter()
        .fold(0, |id, digit| id * 10 + u64::from(digit - b'0'));
    IDS.contains(&id).then_some(id)
}

/// The ids under which clients see the questions of one run of an instance.
#[derive(Debug, Clone)]
pub(crate) struct QuestionIds {
    /// `"prefix.`
    head: String,
}

impl QuestionIds {
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

    /// The id of question `n` as raw JSON.
    pub(crate) fn raw(&self, n: u64) -> Vec<u8> {
        let mut raw = Vec::with_capacity(self.head.len() + 12);
        raw.extend_from_slice(self.head.as_bytes());
        write!(raw, "{n}\"").expect("a vector takes every byte");
        raw
    }

    /// Which question a raw JSON id means, if it is one of these.
    pub(crate) fn read(&self, raw: &str) -> Option<u64> {
        let digits = raw.strip_prefix(&self.head)?.strip_suffix('"')?;
        // `parse` would also take a sign.
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{QuestionIds, draw_request_id, find_last_request_id, read_request_id};

    const ID: u64 = 12_345_678_901_234;

    #[test]
    fn request_ids_match_by_value() {
        for raw in [
            "12345678901234",
            "12345678901234.0",
            "12345678901234.000",
            "12345678901234e0",
            "1.2345678901234e13",
            "1.2345678901234E+13",
            "123456789012340e-1",
            "\"12345678901234\"",
            "\"12345678901234.0\"",
        ] {
            assert_eq!(read_request_id(raw), Some(ID), "{raw}");
        }
        for raw in [
            "",
            "null",
            "7",
            "-12345678901234",
            "+12345678901234",
            "1234567890123",
            "123456789012345",
            "12345678901234.5",
            "1e400",
            "inf",
            "\"",
            "\"12345678901234",
            "\" 12345678901234\"",
            "\"e7.42\"",
            "[12345678901234]",
            "12345678901234.00000000000000000000",
        ] {
            assert_eq!(read_request_id(raw), None, "{raw}");
        }
    }

    #[test]
    fn request_ids_are_drawn_and_read_back() {
        let drawn: BTreeSet<u64> = (0..1_000).map(|_| draw_request_id(|_| false)).collect();
        assert_eq!(drawn.len(), 1_000, "none twice");
        for id in &drawn {
            assert_eq!(read_request_id(&id.to_string()), Some(*id));
            #[allow(clippy::cast_precision_loss, reason = "a double holds them all")]
            let float = *id as f64;
            for raw in [
                format!("{float}"),
                format!("{float:?}"),
                format!("{float:.1}"),
                format!("{float:e}"),
                serde_json::json!(float).to_string(),
            ] {
                assert_eq!(read_request_id(&raw), Some(*id), "{raw}");
            }
        }
        let mut refused = BTreeSet::new();
        let refused = std::cell::RefCell::new(&mut refused);
        let id =
            draw_request_id(|id| refused.borrow().len() < 3 && refused.borrow_mut().insert(id));
        assert!(!refused.borrow().contains(&id), "it is in flight");
    }

    #[test]
    fn a_request_is_found_in_a_broken_message() {
        let find = |text: &[u8]| find_last_request_id(text, |id| id == ID || id == ID + 1);
        for (text, expected) in [
            (
                &b"xx\"id\":12345678901234, .. \"id\": 99999999999999}"[..],
                Some(ID),
            ),
            (
                b"{\"id\":12345678901234,\"x\":12345678901235.0",
                Some(ID + 1),
            ),
            (b"{\"id\":\"12345678901234\",\"x", Some(ID)),
            (b"112345678901234", None),
            (b"nothing", None),
            (b"", None),
        ] {
            assert_eq!(find(text), expected, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn question_ids_read_back_and_foreign_ones_do_not() {
        let ids = QuestionIds::new("e 7\"");
        assert_eq!(ids.raw(42), b"\"e7.42\"");
        for (raw, expected) in [
            ("\"e7.42\"", Some(42)),
            ("\"e6.42\"", None),
            ("\"e7.+42\"", None),
            ("\"e7.s1\"", None),
            ("\"e7.\"", None),
            ("42", None),
            ("null", None),
            ("\"e7.99999999999999999999999\"", None),
        ] {
            assert_eq!(ids.read(raw), expected, "{raw}");
        }
    }
}
