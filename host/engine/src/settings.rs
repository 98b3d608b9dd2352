//! A plugin's TOML table as the list of settings that it gets with each call.

use toml::{Table, Value};

use crate::bindings::types::{Setting, SettingValue};

/// Most settings of a plugin: they travel with each call.
const SETTINGS_MAX: usize = 256;

/// Flattens a table: `[limits] memory_mb = 5` becomes `limits.memory_mb`.
///
/// # Errors
/// There are more than 256 settings.
pub(crate) fn flatten(table: &Table) -> Result<Vec<Setting>, String> {
    let mut settings = Vec::new();
    add(&mut settings, "", table);
    if settings.len() > SETTINGS_MAX {
        return Err(format!(
            "its configuration has {} keys, at most {SETTINGS_MAX} are passed to a plugin",
            settings.len()
        ));
    }
    Ok(settings)
}

fn add(settings: &mut Vec<Setting>, prefix: &str, table: &Table) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            Value::Table(inner) => add(settings, &key, inner),
            value => settings.push(Setting {
                key,
                value: setting_value(value),
            }),
        }
    }
}

fn setting_value(value: &Value) -> SettingValue {
    match value {
        Value::Boolean(flag) => SettingValue::Flag(*flag),
        Value::Integer(whole) => SettingValue::Whole(*whole),
        Value::Float(number) => SettingValue::Number(*number),
        Value::String(text) => SettingValue::Text(text.clone()),
        Value::Array(items) => {
            let texts: Option<Vec<String>> = items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect();
            texts.map_or_else(|| other(value), SettingValue::Texts)
        }
        value => other(value),
    }
}

fn other(value: &Value) -> SettingValue {
    SettingValue::Other(serde_json::to_string(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{SettingValue, flatten};

    #[test]
    fn tables_become_dotted_keys() {
        let table = "a = 1\nb = 1.5\nc = 'x'\nd = true\ne = ['y', 'z']\nf = [1, 2]\n[g]\nh = 3\n";
        let settings = flatten(&table.parse().unwrap()).unwrap();
        let keys: Vec<_> = settings.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "c", "d", "e", "f", "g.h"]);
        assert!(matches!(&settings[4].value, SettingValue::Texts(texts) if texts.len() == 2));
        assert!(matches!(&settings[5].value, SettingValue::Other(json) if json == "[1,2]"));
        assert!(matches!(settings[6].value, SettingValue::Whole(3)));
    }

    #[test]
    fn too_many_are_refused() {
        let table: toml::Table = (0..257).map(|n| (format!("k{n}"), n.into())).collect();
        assert!(flatten(&table).unwrap_err().contains("257"));
    }
}
