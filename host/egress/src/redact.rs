//! Cuts a sink's secrets out of what comes back: servers echo what they were sent, in their errors above all.
//!
//! Each secret is looked for as it is and as it is written in a URL, in JSON, in HTML and in base 64; of an address also what follows
//! its origin. A server that means to give a secret away can write it otherwise; but that server has it already.

use base64::{Engine as _, engine::general_purpose as alphabets};

use crate::{
    encode,
    message::{BODY_BYTES_MAX, EgressError},
    secrets::{HeldSecret, Secrets},
};

/// What stands in the place of a secret.
const CUT: &str = "[redacted]";

/// Shortest path of an address that is looked for alone: what is shorter is no secret, and stands everywhere.
const PATH_BYTES_MIN: usize = 8;

/// See the module. Holds secrets: it is never shown.
pub(crate) struct Redactor {
    /// The longest first, by the byte that they begin with.
    patterns: Vec<Vec<Vec<u8>>>,
    longest: usize,
}

impl Redactor {
    pub(crate) fn new(secrets: &Secrets) -> Self {
        let mut all: Vec<Vec<u8>> = secrets.iter().flat_map(forms).collect();
        all.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        all.dedup();
        let longest = all.first().map_or(0, Vec::len);
        let mut patterns = vec![Vec::new(); 256];
        for pattern in all {
            if let Some(first) = pattern.first() {
                patterns[usize::from(*first)].push(pattern);
            }
        }
        Self { patterns, longest }
    }

    /// Bytes of a body to read, so that a secret that the bound on it cuts through is found.
    pub(crate) fn body_bytes_max(&self) -> usize {
        BODY_BYTES_MAX + self.longest
    }

    pub(crate) fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.bytes(text.as_bytes())).into_owned()
    }

    pub(crate) fn error(&self, error: EgressError) -> EgressError {
        error.map_reason(|reason| self.text(&reason))
    }

    /// A body. Of one that goes on beyond what was read, the end that may be the beginning of a secret is cut off too.
    pub(crate) fn body(&self, body: &[u8], goes_on: bool) -> Vec<u8> {
        let mut kept = self.bytes(body);
        if goes_on {
            kept.truncate(kept.len() - self.begun(&kept));
        }
        kept.truncate(BODY_BYTES_MAX);
        kept
    }

    fn bytes(&self, text: &[u8]) -> Vec<u8> {
        let mut kept = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((first, after)) = rest.split_first() {
            let patterns = self.patterns[usize::from(*first)].iter();
            match patterns
                .map(Vec::as_slice)
                .find(|one| rest.starts_with(one))
            {
                Some(pattern) => {
                    kept.extend_from_slice(CUT.as_bytes());
                    rest = &rest[pattern.len()..];
                }
                None => {
                    kept.push(*first);
                    rest = after;
                }
            }
        }
        kept
    }

    /// How many bytes at the end of a text are the beginning of a secret.
    fn begun(&self, text: &[u8]) -> usize {
        let from = text.len().saturating_sub(self.longest);
        let mut ends = (from..text.len()).map(|at| &text[at..]);
        let begun = ends.find(|end| {
            let patterns = &self.patterns[usize::from(end[0])];
            patterns.iter().any(|pattern| pattern.starts_with(end))
        });
        begun.map_or(0, <[u8]>::len)
    }
}

/// Everything that a secret may come back as.
fn forms(secret: &HeldSecret) -> Vec<Vec<u8>> {
    let value = secret.value();
    let mut texts = vec![value.to_owned()];
    if let Some(target) = &secret.address {
        let (path, query) = (target.path.path(), target.path.as_str());
        texts.extend([path, query].map(str::to_owned));
        texts.retain(|text| text.len() >= PATH_BYTES_MIN);
    }
    // What the prefix of Standard Webhooks' keys stands before.
    for prefix in ["whsec_", "whsk_"] {
        texts.extend(value.strip_prefix(prefix).map(str::to_owned));
    }
    texts.iter().flat_map(|text| written_forms(text)).collect()
}

fn written_forms(text: &str) -> Vec<Vec<u8>> {
    let percent = encode::percent(text).into_owned();
    let json = encode::json(text).into_owned();
    let html = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let forms = [
        text.to_owned(),
        percent.replace("%20", "+"),
        lower_digits(&percent),
        percent,
        json.replace('/', "\\/"),
        json,
        html.replace('"', "&quot;").replace('\'', "&#39;"),
        html.replace('"', "&#34;").replace('\'', "&#x27;"),
        alphabets::STANDARD_NO_PAD.encode(text),
        alphabets::URL_SAFE_NO_PAD.encode(text),
    ];
    let forms = forms.into_iter().filter(|form| !form.is_empty());
    forms.map(String::into_bytes).collect()
}

/// `%2f` for `%2F`.
fn lower_digits(percent: &str) -> String {
    let mut digits = 0;
    let lower = |c: char| {
        if c == '%' {
            digits = 2;
            return c;
        }
        if digits == 0 {
            return c;
        }
        digits -= 1;
        c.to_ascii_lowercase()
    };
    percent.chars().map(lower).collect()
}

#[cfg(test)]
mod tests;
