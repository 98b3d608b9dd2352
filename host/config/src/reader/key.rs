//! One key: where its value comes from, whether it may have it, and what is remembered of it.

use std::{marker::PhantomData, time::Duration};

use crate::{
    Applies, Place, Setting, SettingOrigin, Switchable,
    reader::{ConfigSection, upper, variable_node},
    value::{InvalidValue, Value},
};

/// A rule about a value besides its type.
type Rule<'k, T> = Box<dyn Fn(&T) -> Result<(), InvalidValue> + 'k>;

/// A key that is being read. The last call in the chain says what happens where nobody set it.
pub(crate) struct Key<'s, 'r, 'a, T> {
    section: &'s ConfigSection<'r, 'a>,
    name: &'static str,
    variables: Vec<String>,
    applies: Applies,
    rules: Vec<Rule<'s, T>>,
    value: PhantomData<T>,
}

/// A value, where it was found.
struct Found<T> {
    value: Option<T>,
    /// Whether there is anything, be it faulty.
    given: bool,
    origin: SettingOrigin,
}

impl<'s> Key<'s, '_, '_, Switchable<Duration>> {
    /// The least and the greatest value where it is not switched off.
    pub(crate) fn within_or_off(self, least: Duration, greatest: Duration) -> Self {
        self.rule(move |value| match value.0 {
            Some(duration) if !(least..=greatest).contains(&duration) => {
                let what = format!("{} is out of range", duration.show());
                let (least, greatest) = (least.show(), greatest.show());
                let remedy = format!("write a value from {least} to {greatest}, or \"off\"");
                Err(InvalidValue::new(what, remedy))
            }
            _ => Ok(()),
        })
    }
}

impl<'s, 'r, 'a, T: Value> Key<'s, 'r, 'a, T> {
    pub(super) fn new(section: &'s ConfigSection<'r, 'a>, name: &'static str) -> Self {
        let general = section.variable.as_ref();
        Self {
            section,
            name,
            variables: general
                .map(|before| format!("{before}{}", upper(name)))
                .into_iter()
                .collect(),
            applies: Applies::Live,
            rules: Vec::new(),
            value: PhantomData,
        }
    }

    /// A variable of its own besides the general one. Bare numbers in it count milliseconds where the key is a duration.
    pub(crate) fn variable(mut self, name: &str) -> Self {
        self.variables.insert(0, name.to_owned());
        self
    }

    /// Another value counts only with the next start of the router.
    pub(crate) fn restart(mut self) -> Self {
        self.applies = Applies::Restart;
        self
    }

    /// The least and the greatest value.
    pub(crate) fn within(self, least: T, greatest: T) -> Self
    where
        T: PartialOrd + 's,
    {
        self.rule(move |value| {
            // Written so that what cannot be compared (NaN) is refused.
            if *value >= least && *value <= greatest {
                return Ok(());
            }
            let what = format!("{} is out of range", value.show());
            Err(InvalidValue::new(
                what,
                format!("write a value from {} to {}", least.show(), greatest.show()),
            ))
        })
    }

    /// Any other rule.
    pub(crate) fn rule(mut self, rule: impl Fn(&T) -> Result<(), InvalidValue> + 's) -> Self {
        self.rules.push(Box::new(rule));
        self
    }

    /// The value, or the default.
    pub(crate) fn or(self, default: T) -> T {
        let shown = default.show();
        let found = self.find();
        let value = found.value.unwrap_or(default);
        self.record(Some(value.show()), Some(shown), found.origin);
        value
    }

    /// The value, if somebody set it.
    pub(crate) fn optional(self) -> Option<T> {
        let found = self.find();
        self.record(found.value.as_ref().map(Value::show), None, found.origin);
        found.value
    }

    /// The value; without one, or with a faulty one, there is a fault.
    pub(crate) fn required(self, remedy: &str) -> Option<T> {
        let found = self.find();
        if !found.given {
            let section = self.section;
            let key = section.key_path(self.name);
            section
                .reader
                .fault(section.place(), key, "is missing", remedy);
        }
        self.record(found.value.as_ref().map(Value::show), None, found.origin);
        found.value
    }

    /// Reads the file, then the environment, which takes precedence. Both are checked.
    fn find(&self) -> Found<T> {
        let (section, reader) = (self.section, self.section.reader);
        let path = section.key_path(self.name);
        let mut found = Found {
            value: None,
            given: false,
            origin: SettingOrigin::Default,
        };
        if let Some((at, node)) = section.entry(self.name) {
            reader.remember(&path, at.or(node.at));
            let place = reader.place(node.at);
            found.given = true;
            found.origin = SettingOrigin::of(Some(&place));
            match T::read(&node.raw).and_then(|value| self.judge(value)) {
                Ok(value) => found.value = Some(value),
                Err(refusals) => reader.refused(&path, &place, refusals),
            }
        }
        reader
            .variables
            .borrow_mut()
            .extend(self.variables.iter().cloned());
        let mut set = self
            .variables
            .iter()
            .filter_map(|name| Some((name, reader.environment.variable(name)?)));
        let Some((name, text)) = set.next() else {
            return found;
        };
        let place = Place::Variable(name.clone());
        if let Some((other, other_text)) = set.next()
            && other_text != text
        {
            let what = format!("{other} gives this key another value");
            reader.fault(place.clone(), path.clone(), what, "unset one of the two");
        }
        let Ok(text) = text else {
            reader.fault(
                place,
                path,
                "its value is not UTF-8",
                "set it to a text in UTF-8",
            );
            return found;
        };
        reader
            .places
            .borrow_mut()
            .insert(path.clone(), place.clone());
        let node = variable_node(name, text, T::SHAPE);
        match T::read(&node.raw).and_then(|value| self.judge(value)) {
            Ok(value) => found.value = Some(value),
            Err(refusals) => reader.refused(&path, &place, refusals),
        }
        found.given = true;
        found.origin = SettingOrigin::Variable(name.clone());
        found
    }

    fn judge(&self, value: T) -> Result<T, Vec<InvalidValue>> {
        let refusals: Vec<InvalidValue> = self
            .rules
            .iter()
            .filter_map(|rule| rule(&value).err())
            .collect();
        if refusals.is_empty() {
            Ok(value)
        } else {
            Err(refusals)
        }
    }

    fn record(&self, value: Option<String>, default: Option<String>, origin: SettingOrigin) {
        let section = self.section;
        section.reader.settings.borrow_mut().push(Setting {
            key: section.key_path(self.name),
            schema_key: super::join(&section.schema_path, self.name),
            value,
            default,
            origin,
            applies: self.applies,
            secret: None,
            compared: true,
        });
    }
}
