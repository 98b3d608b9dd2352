//! What keeps an instance from being launched as it is defined.

use std::collections::BTreeSet;

use super::{env_of, texts, value_of};
use crate::{Config, InstanceConfig, Template, TemplateName, pattern, suggest::nearest};

/// Longest path of a unix socket: `sun_path` has 108 bytes, the last of which is zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Longest argument, and longest variable with its name: Linux' `MAX_ARG_STRLEN`, whose last byte is zero.
const ARG_BYTES_MAX: usize = 128 * 1024 - 1;

/// Bytes of all arguments and variables. Linux takes a quarter of the stack's limit, 2 MiB as a rule; the other half is for
/// what the router passes on of its own.
const ARGS_BYTES_MAX: usize = 1024 * 1024;

/// Placeholders that every instance has.
const OWN_PLACEHOLDERS: [&str; 2] = ["id", "socket_path"];

/// What is wrong with an instance. The key is seen from the instance.
pub(crate) struct DefinitionFault {
    pub(crate) key: String,
    pub(crate) what: String,
    pub(crate) remedy: String,
}

impl DefinitionFault {
    fn new(key: impl Into<String>, what: String, remedy: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            what,
            remedy: remedy.into(),
        }
    }
}

impl Config {
    /// Everything that is wrong with the definition of an instance.
    pub(crate) fn definition_faults(&self, instance: &InstanceConfig) -> Vec<DefinitionFault> {
        let Some(template) = self.templates.get(&instance.template) else {
            return vec![self.no_template(instance)];
        };
        let mut faults = placeholder_faults(instance, template);
        faults.extend(self.long_socket(instance, template));
        faults.extend(self.too_long(instance, template));
        faults
    }

    fn no_template(&self, instance: &InstanceConfig) -> DefinitionFault {
        let names = || self.templates.keys().map(TemplateName::as_str);
        let remedy = match nearest(instance.template.as_str(), names()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if self.templates.is_empty() => {
                "write a [template.NAME] for it; there is none yet".to_owned()
            }
            None => format!("name one of: {}", names().collect::<Vec<_>>().join(", ")),
        };
        let what = format!("there is no [template.{}]", instance.template);
        DefinitionFault::new("template", what, remedy)
    }

    fn long_socket(
        &self,
        instance: &InstanceConfig,
        template: &Template,
    ) -> Option<DefinitionFault> {
        let socket = self.socket_path(instance.id.as_str(), template.transport, true);
        let bytes = socket.as_os_str().len();
        let what = format!(
            "its socket {} has a path of {bytes} bytes, and Linux allows {SOCKET_PATH_BYTES_MAX}",
            socket.display()
        );
        let remedy = "set instances.socket_dir to a shorter directory, or choose a shorter id";
        (bytes > SOCKET_PATH_BYTES_MAX).then(|| DefinitionFault::new("id", what, remedy))
    }

    /// Arguments and variables that no process can be started with, their placeholders filled in.
    fn too_long(&self, instance: &InstanceConfig, template: &Template) -> Vec<DefinitionFault> {
        let socket_text = self.socket_text(instance, template);
        let value = value_of(instance, &socket_text);
        let bytes = |text: &str| pattern::filled_bytes(text, &value);
        let program = std::iter::once(&template.command).chain(&template.args);
        let program = program.enumerate().map(|(number, text)| {
            let which = match number {
                0 => "the command".to_owned(),
                _ => format!("argument {number}"),
            };
            ("template".to_owned(), which, bytes(text))
        });
        let variables = env_of(instance, template).map(|(name, text)| {
            let key = match instance.env.contains_key(name) {
                true => format!("env.{name}"),
                false => "template".to_owned(),
            };
            let which = format!("the variable {name}");
            (
                key,
                which,
                bytes(text.expose()).saturating_add(name.len() + 1),
            )
        });
        const REMEDY: &str = "put it into a file, and pass the file's path";
        let (mut faults, mut total) = (Vec::new(), 0_usize);
        for (key, which, bytes) in program.chain(variables) {
            total = total.saturating_add(bytes);
            if bytes > ARG_BYTES_MAX {
                let what = format!("{which} has {bytes} bytes, and Linux allows {ARG_BYTES_MAX}");
                let remedy = REMEDY.to_owned();
                faults.push(DefinitionFault { key, what, remedy });
            }
        }
        if faults.is_empty() && total > ARGS_BYTES_MAX {
            let what = format!(
                "its arguments and variables have {total} bytes together, allowed are {ARGS_BYTES_MAX}"
            );
            let (key, remedy) = ("template".to_owned(), REMEDY.to_owned());
            faults.push(DefinitionFault { key, what, remedy });
        }
        faults
    }
}

/// Placeholders that nothing fills, and values that no placeholder takes.
fn placeholder_faults(instance: &InstanceConfig, template: &Template) -> Vec<DefinitionFault> {
    let wanted: BTreeSet<&str> = texts(instance, template).flat_map(pattern::names).collect();
    let is_own = |name: &str| OWN_PLACEHOLDERS.contains(&name);
    let missing = wanted
        .iter()
        .filter(|name| !is_own(name) && !instance.vars.contains_key(**name));
    let mut faults: Vec<DefinitionFault> = missing
        .map(|name| {
            let what = format!(
                "template {} has the placeholder {{{name}}}, and nothing fills it",
                template.name
            );
            DefinitionFault::new(format!("vars.{name}"), what, format!("add {name} to vars"))
        })
        .collect();
    for name in instance.vars.keys() {
        let key = format!("vars.{name}");
        if is_own(name) {
            let what = "every instance has this placeholder already".to_owned();
            faults.push(DefinitionFault::new(key, what, "remove it, or rename it"));
        } else if !wanted.contains(name.as_str()) {
            let what = format!("template {} has no placeholder {{{name}}}", template.name);
            let remedy = match nearest(name, wanted.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "remove it, or use it in the template".to_owned(),
            };
            faults.push(DefinitionFault::new(key, what, remedy));
        }
    }
    faults
}
