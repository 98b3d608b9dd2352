//! `[[instance]]`, and the same as the body of `POST /api/instances`.

use std::collections::BTreeMap;

use router_core::InstanceId;

use crate::{Secret, TemplateName, Tuning, reader::Section, template, value::is_variable};

/// One instance as somebody defined it. [`crate::Config::define`] turns it into what is launched.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceConfig {
    /// Its id.
    pub id: InstanceId,
    /// How it is launched.
    pub template: TemplateName,
    /// What the template's placeholders stand for.
    pub vars: BTreeMap<String, String>,
    /// Environment over the template's.
    pub env: BTreeMap<String, Secret>,
    /// What differs from the template.
    pub tuning: Tuning,
}

impl InstanceConfig {
    /// Reads one section; `None` where something without which it is nothing is missing or wrong.
    pub(crate) fn read(section: &Section<'_, '_>) -> Option<Self> {
        let id = section.key("id").required("name it: id = \"demo\"");
        let template = section
            .key("template")
            .required("name a [template.NAME]: template = \"godot\"");
        let mut vars = BTreeMap::new();
        for (name, text) in section.texts("vars") {
            if is_variable(&name) {
                vars.insert(name, text);
            } else {
                let key = format!("{}.{name}", section.key_path("vars"));
                let remedy = "write letters, digits and _, and do not start with a digit";
                section
                    .reader
                    .fault_at(&key, "this is not the name of a placeholder", remedy);
            }
        }
        let env = template::read_env(section);
        let tuning = Tuning::read(section);
        Some(Self {
            id: id?,
            template: template?,
            vars,
            env,
            tuning,
        })
    }
}
