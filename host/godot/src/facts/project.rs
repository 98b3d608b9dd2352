//! `project.godot`: the project's settings.

use std::collections::BTreeMap;

use crate::fault::{Flaw, Flaws};
use crate::limits::{NAME_BYTES_MAX, PROPERTY_TEXT_BYTES_MAX, clip};
use crate::text::{Document, KeyValue, Section, Variant};

/// Settings, autoloads and input actions kept. The editor's own settings page has fewer than 1,000 entries.
const SETTINGS_MAX: usize = 2_000;

/// What `project.godot` says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ProjectFacts {
    /// `config_version`: 5 is Godot 4, 4 is Godot 3.1 and later.
    pub(crate) config_version: Option<i64>,
    /// `application/config/name`.
    pub(crate) name: Option<String>,
    /// `application/config/description`.
    pub(crate) description: Option<String>,
    /// `application/config/features`: the engine version and renderer it was last saved with.
    pub(crate) features: Vec<String>,
    /// `application/run/main_scene`, a path or a uid.
    pub(crate) main_scene: Option<(String, u32)>,
    /// `application/config/icon`.
    pub(crate) icon: Option<(String, u32)>,
    /// Scripts and scenes that the engine loads at start.
    pub(crate) autoloads: Vec<Autoload>,
    /// The input map.
    pub(crate) input_actions: Vec<InputAction>,
    /// Enabled editor plugins: paths of their `plugin.cfg`.
    pub(crate) plugins: Vec<(String, u32)>,
    /// Other settings that refer to files, such as the default theme: name, path, line.
    pub(crate) references: Vec<(String, String, u32)>,
    /// Every setting as text, by `section/key`.
    pub(crate) settings: BTreeMap<String, String>,
}

/// A script or scene that the engine loads at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Autoload {
    /// The name it has as a global.
    pub(crate) name: String,
    /// Its file, a path or a uid.
    pub(crate) target: String,
    /// Whether scripts can use it by its name (`*` before the path).
    pub(crate) singleton: bool,
    /// Where it is declared.
    pub(crate) line: u32,
}

/// An action of the input map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InputAction {
    /// Its name.
    pub(crate) name: String,
    /// What triggers it, as text.
    pub(crate) events: Vec<String>,
}

impl ProjectFacts {
    /// Reads the settings.
    pub(crate) fn read(text: &str, flaws: &mut Flaws) -> Self {
        let document = Document::read(text, flaws);
        let mut facts = Self::default();
        for section in &document.sections {
            for property in &section.properties {
                facts.setting(section, property);
            }
        }
        match facts.config_version {
            None => {
                flaws.push(Flaw::whole(
                    "config_version is missing; this may not be a Godot project",
                ));
            }
            Some(3..=5) => {}
            Some(other) => {
                flaws.push(Flaw::whole(format!(
                    "config_version {other} is unknown (4 is Godot 3, 5 is Godot 4)"
                )));
            }
        }
        facts
    }

    fn setting(&mut self, section: &Section, property: &KeyValue) {
        let value = &property.value;
        let text = value.as_text().map(|text| clip(text, NAME_BYTES_MAX));
        let key = match section.name.as_str() {
            "" => property.key.clone(),
            name => format!("{name}/{}", property.key),
        };
        match (section.name.as_str(), property.key.as_str()) {
            ("", "config_version") => self.config_version = value.as_int(),
            ("application", "config/name") => self.name = text,
            ("application", "config/description") => self.description = text,
            ("application", "config/features") => self.features = texts(value),
            ("application", "run/main_scene") => {
                self.main_scene = text.map(|text| (text, property.line));
            }
            ("application", "config/icon") => {
                self.icon = text.map(|text| (text, property.line));
            }
            ("autoload", _) => self.autoload(property),
            ("input", _) => {
                self.input(property);
                return;
            }
            ("editor_plugins", "enabled") => {
                let enabled = texts(value).into_iter().map(|path| (path, property.line));
                self.plugins.extend(enabled);
            }
            _ => {
                let path =
                    text.filter(|text| text.starts_with("res://") || text.starts_with("uid://"));
                if let Some(path) = path.filter(|_| self.references.len() < SETTINGS_MAX) {
                    self.references.push((key.clone(), path, property.line));
                }
            }
        }
        if self.settings.len() < SETTINGS_MAX {
            self.settings
                .insert(key, value.show(PROPERTY_TEXT_BYTES_MAX));
        }
    }

    fn autoload(&mut self, property: &KeyValue) {
        let Some(text) = property.value.as_text() else {
            return;
        };
        if self.autoloads.len() < SETTINGS_MAX {
            self.autoloads.push(Autoload {
                name: property.key.clone(),
                target: clip(text.trim_start_matches('*'), NAME_BYTES_MAX),
                singleton: text.starts_with('*'),
                line: property.line,
            });
        }
    }

    fn input(&mut self, property: &KeyValue) {
        if self.input_actions.len() >= SETTINGS_MAX {
            return;
        }
        // Godot 3.0 wrote the list of events without the dictionary around it.
        let events = property.value.get("events").unwrap_or(&property.value);
        self.input_actions.push(InputAction {
            name: property.key.clone(),
            events: events.items().iter().take(16).map(event).collect(),
        });
    }
}

fn texts(value: &Variant) -> Vec<String> {
    let items = value.items().iter().filter_map(Variant::as_text);
    items.map(|text| clip(text, NAME_BYTES_MAX)).collect()
}

/// An input event as text.
fn event(value: &Variant) -> String {
    let Variant::Object { class, .. } = value else {
        return value.show(PROPERTY_TEXT_BYTES_MAX);
    };
    let number = |key: &str| value.get(key).and_then(Variant::as_int);
    match class.as_str() {
        "InputEventKey" => {
            let code = [
                "physical_keycode",
                "keycode",
                "physical_scancode",
                "scancode",
            ]
            .iter()
            .find_map(|key| number(key).filter(|code| *code != 0));
            format!("key {}", code.map_or_else(|| "(none)".to_owned(), key_name))
        }
        "InputEventMouseButton" => format!("mouse button {}", number("button_index").unwrap_or(0)),
        "InputEventJoypadButton" => {
            format!("joypad button {}", number("button_index").unwrap_or(0))
        }
        "InputEventJoypadMotion" => {
            let negative = matches!(value.get("axis_value"), Some(Variant::Float(value)) if *value < 0.0)
                || number("axis_value").is_some_and(|value| value < 0);
            let sign = if negative { '-' } else { '+' };
            format!("joypad axis {}{sign}", number("axis").unwrap_or(0))
        }
        other => other.to_owned(),
    }
}

/// The name of a key code; codes of Godot 4 carry bit 22 where those of Godot 3 carry bit 24.
fn key_name(code: i64) -> String {
    const SPECIAL: [(i64, &str); 14] = [
        (1, "Escape"),
        (2, "Tab"),
        (4, "Backspace"),
        (5, "Enter"),
        (8, "Delete"),
        (15, "Left"),
        (16, "Up"),
        (17, "Right"),
        (18, "Down"),
        (19, "PageUp"),
        (20, "PageDown"),
        (21, "Shift"),
        (22, "Ctrl"),
        (24, "Alt"),
    ];
    if code == 32 {
        return "Space".to_owned();
    }
    if let Some(printable) = u8::try_from(code).ok().filter(u8::is_ascii_graphic) {
        return char::from(printable).to_string();
    }
    let special = [1_i64 << 22, 1 << 24]
        .iter()
        .filter(|bit| code & **bit != 0)
        .find_map(|bit| SPECIAL.iter().find(|(low, _)| code ^ bit == *low));
    special.map_or_else(|| format!("code {code}"), |(_, name)| (*name).to_owned())
}
