//! The interfaces of `wit/` from the host's side.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "router:plugin/health-policy",
    imports: { default: trappable },
    exports: { default: async },
    additional_derives: [PartialEq],
});

pub(crate) use exports::router::plugin::health::{Facts, Status, Verdict};
pub(crate) use router::plugin::{host, types};
