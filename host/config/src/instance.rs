//! `[[instance]]`, and the same as the body of `POST /api/instances`.

use std::collections::BTreeMap;

use router_core::InstanceId;

use crate::{Secret, TemplateName, Tuning};

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
