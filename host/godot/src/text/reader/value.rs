//! Reads one value at a time, with a bound on nesting.

use super::super::variant::Variant;
use super::Reader;
use crate::fault::Flaw;
use crate::limits::{ITEMS_KEPT_MAX, VALUE_DEPTH_MAX, VALUES_KEPT_MAX, clip};

impl Reader<'_> {
    /// Reads a value.
    pub(in crate::text) fn value(&mut self) -> Result<Variant, Flaw> {
        self.nested(0)
    }

    fn nested(&mut self, depth: usize) -> Result<Variant, Flaw> {
        if depth > VALUE_DEPTH_MAX {
            return Err(self.flaw(format!(
                "values are nested more than {VALUE_DEPTH_MAX} deep"
            )));
        }
        self.skip_blank();
        let Some(byte) = self.peek() else {
            return Err(self.flaw("the file ends where a value is expected"));
        };
        match byte {
            b'"' => Ok(Variant::String(self.string()?)),
            b'&' | b'@' | b'^' if self.peek_next() == Some(b'"') => {
                self.bump();
                let text = self.string()?;
                Ok(match byte {
                    b'^' => Variant::NodePath(text),
                    _ => Variant::StringName(text),
                })
            }
            b'[' => self.array(depth),
            b'{' => self.dictionary(depth),
            b'#' => {
                self.bump();
                let digits = self.take_while(|byte| byte.is_ascii_hexdigit());
                Ok(Variant::Color(digits.to_owned()))
            }
            b'+' | b'-' | b'.' | b'0'..=b'9' => self.number(),
            byte if byte.is_ascii_alphabetic() || byte == b'_' => self.named(depth),
            _ => Err(self.flaw(format!(
                "a value cannot start with `{}`",
                clip(self.rest_of_line(), 20)
            ))),
        }
    }

    /// Reads `"…"`, which may hold line ends and escapes.
    pub(in crate::text) fn string(&mut self) -> Result<String, Flaw> {
        let started = self.line;
        let unclosed = || {
            Flaw::at(
                started,
                "the text that starts here is not closed by a quote",
            )
        };
        self.bump();
        let mut out = String::new();
        loop {
            let plain = self.take_while(|byte| byte != b'"' && byte != b'\\');
            out.push_str(plain);
            match self.bump() {
                Some(b'"') => return Ok(out),
                Some(_) => self.escape(&mut out).ok_or_else(unclosed)?,
                None => return Err(unclosed()),
            }
        }
    }

    /// Reads what follows a backslash. Unknown escapes stand for themselves, as in Godot.
    fn escape(&mut self, out: &mut String) -> Option<()> {
        let digits = match self.peek()? {
            b'u' => 4,
            b'U' => 6,
            b'\\' | b'"' | b'\'' | b'n' | b't' | b'r' | b'b' | b'f' => {
                let plain = match self.bump()? {
                    b'n' => '\n',
                    b't' => '\t',
                    b'r' => '\r',
                    b'b' => '\u{8}',
                    b'f' => '\u{c}',
                    other => char::from(other),
                };
                out.push(plain);
                return Some(());
            }
            // Left for the plain run that follows: it may be more than one byte long.
            _ => return Some(()),
        };
        self.bump();
        let mut code = 0_u32;
        for _ in 0..digits {
            let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(16)) else {
                break;
            };
            code = code * 16 + digit;
            self.bump();
        }
        out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        Some(())
    }

    fn number(&mut self) -> Result<Variant, Flaw> {
        let sign = if self.take(b'-') {
            "-"
        } else {
            self.take(b'+');
            ""
        };
        if self.peek().is_some_and(|byte| byte.is_ascii_alphabetic()) {
            let name = self.take_while(|byte| byte.is_ascii_alphanumeric());
            return match name {
                "inf" if sign.is_empty() => Ok(Variant::Float(f64::INFINITY)),
                "inf" => Ok(Variant::Float(f64::NEG_INFINITY)),
                "nan" => Ok(Variant::Float(f64::NAN)),
                _ => Err(self.flaw(format!("`{sign}{}` is not a number", clip(name, 20)))),
            };
        }
        let digits = self.take_while(|byte| byte.is_ascii_digit() || b".eE+-_".contains(&byte));
        let written = format!("{sign}{digits}");
        if let Ok(whole) = written.parse::<i64>() {
            return Ok(Variant::Int(whole));
        }
        match written.parse::<f64>() {
            Ok(value) => Ok(Variant::Float(value)),
            Err(_) => Err(self.flaw(format!("`{}` is not a number", clip(&written, 20)))),
        }
    }

    /// Reads a keyword or a constructor.
    fn named(&mut self, depth: usize) -> Result<Variant, Flaw> {
        let name = self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match name {
            "true" => return Ok(Variant::Bool(true)),
            "false" => return Ok(Variant::Bool(false)),
            "null" | "nil" => return Ok(Variant::Null),
            "inf" => return Ok(Variant::Float(f64::INFINITY)),
            "inf_neg" => return Ok(Variant::Float(f64::NEG_INFINITY)),
            "nan" => return Ok(Variant::Float(f64::NAN)),
            _ => {}
        }
        let mut called = clip(name, 128);
        if matches!(name, "Array" | "Dictionary") && self.take(b'[') {
            called.push_str(&self.element_types(depth)?);
        }
        if !self.take(b'(') {
            return Err(self.flaw(format!("`{}` is not a value", clip(name, 40))));
        }
        if called == "Object" {
            return self.object(depth);
        }
        let arguments = self.list(b')', depth)?;
        let call = Variant::Call {
            name: called,
            arguments,
        };
        if let Some(link) = call.link() {
            self.links.push(link);
        }
        Ok(call)
    }

    /// Reads the types of a typed container, after the bracket: `int]`, `String, ExtResource("1")]`.
    fn element_types(&mut self, depth: usize) -> Result<String, Flaw> {
        let mut types = Vec::new();
        loop {
            self.skip_blank();
            let name = self
                .take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.');
            if self.take(b'(') {
                let arguments = self.list(b')', depth + 1)?;
                let call = Variant::Call {
                    name: clip(name, 128),
                    arguments,
                };
                self.links.extend(call.link());
                types.push(call.show(128));
            } else {
                types.push(clip(name, 128));
            }
            self.skip_blank();
            match self.bump() {
                Some(b',') if types.len() < 2 => {}
                Some(b']') => return Ok(format!("[{}]", types.join(", "))),
                _ => return Err(self.flaw("the element type of a container is not closed by `]`")),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Variant, Flaw> {
        self.skip_blank();
        let class = self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let class = clip(class, 128);
        let mut properties = Vec::new();
        loop {
            self.skip_blank();
            match self.bump() {
                Some(b')') => return Ok(Variant::Object { class, properties }),
                Some(b',') => {}
                _ => return Err(self.flaw(format!("Object({class}, …) is not closed"))),
            }
            self.skip_blank();
            if self.peek() != Some(b'"') {
                continue;
            }
            let key = self.string()?;
            self.colon()?;
            let value = self.nested(depth + 1)?;
            if self.keeps(properties.len()) {
                properties.push((key, value));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Variant, Flaw> {
        self.bump();
        Ok(Variant::Array(self.list(b']', depth)?))
    }

    /// Reads values separated by commas, up to `close`.
    fn list(&mut self, close: u8, depth: usize) -> Result<Vec<Variant>, Flaw> {
        let started = self.line;
        let mut items = Vec::new();
        loop {
            self.skip_blank();
            if self.take(close) {
                return Ok(items);
            }
            if self.peek().is_none() {
                let close = char::from(close);
                return Err(Flaw::at(
                    started,
                    format!("what starts here is not closed by `{close}`"),
                ));
            }
            let item = self.nested(depth + 1)?;
            if self.keeps(items.len()) {
                items.push(item);
            }
            self.skip_blank();
            if !self.take(b',') && self.peek().is_some_and(|byte| byte != close) {
                return Err(self.flaw(format!("expected `,` or `{}`", char::from(close))));
            }
        }
    }

    fn dictionary(&mut self, depth: usize) -> Result<Variant, Flaw> {
        let started = self.line;
        self.bump();
        let mut entries = Vec::new();
        loop {
            self.skip_blank();
            if self.take(b'}') {
                return Ok(Variant::Dictionary(entries));
            }
            if self.peek().is_none() {
                return Err(Flaw::at(
                    started,
                    "the dictionary that starts here is not closed by `}`",
                ));
            }
            let key = self.nested(depth + 1)?;
            self.colon()?;
            let value = self.nested(depth + 1)?;
            if self.keeps(entries.len()) {
                entries.push((key, value));
            }
            self.skip_blank();
            if !self.take(b',') && self.peek().is_some_and(|byte| byte != b'}') {
                return Err(self.flaw("expected `,` or `}`"));
            }
        }
    }

    fn colon(&mut self) -> Result<(), Flaw> {
        self.skip_blank();
        if self.take(b':') {
            Ok(())
        } else {
            Err(self.flaw("expected `:` between a key and its value"))
        }
    }

    /// Whether one more item is stored in a container that holds `held`.
    fn keeps(&mut self, held: usize) -> bool {
        let keeps = held < ITEMS_KEPT_MAX && self.kept < VALUES_KEPT_MAX;
        if keeps {
            self.kept += 1;
        }
        keeps
    }
}
