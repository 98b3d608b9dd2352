//! `[[instance]]`, and the same as the body of `POST /api/instances`.

use std::collections::{BTreeMap, BTreeSet};

use router_core::InstanceId;

use router_values::Secret;

use crate::{
    Config, TemplateName, Tuning,
    names::is_variable,
    reader::ConfigSection,
    template::{self, Faulty},
};

/// One instance as it is defined. [`crate::Config::define`] turns it into what is launched.
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
    /// Reads one section, and judges what it makes of its template unless that is faulty itself, and whether its id is
    /// `taken`. `None` where anything is wrong.
    pub(crate) fn read(
        section: &ConfigSection<'_, '_>,
        config: &Config,
        (faulty, taken): (&Faulty, &mut BTreeSet<InstanceId>),
    ) -> Option<Self> {
        let reader = section.reader;
        let before = reader.count();
        let id: Option<InstanceId> = section.key("id").required("name it: id = \"demo\"");
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
                reader.fault_at(&key, "this is not the name of a placeholder", remedy);
            }
        }
        let env = template::read_env(section);
        let tuning = Tuning::read(section);
        if let Some(id) = &id
            && !taken.insert(id.clone())
        {
            let what = format!("another [[instance]] is called {:?}", id.as_str());
            reader.fault_at(&section.key_path("id"), what, "give each its own id");
        }
        // Without an id the rest can be judged all the same.
        let stand_in = || InstanceId::parse("x").expect("a letter is an id");
        let instance = Self {
            id: id.unwrap_or_else(stand_in),
            template: template?,
            vars,
            env,
            tuning,
        };
        if !faulty.contains(&instance.template) {
            for fault in config.definition_faults(&instance) {
                let key = section.key_path(&fault.key);
                if !reader.is_faulty(&key) {
                    reader.fault_at(&key, fault.what, fault.remedy);
                }
            }
        }
        (reader.count() == before).then_some(instance)
    }
}
