//! What `wit/` states for every kind of plugin, from the host's side. What it states for one kind is in that kind's module.

wasmtime::component::bindgen!({
    path: "../../wit",
    interfaces: "import router:common/host@0.2.0; export router:common/lifecycle@0.2.0;",
    imports: { default: trappable },
    exports: { default: async },
    additional_derives: [PartialEq],
});

pub(crate) use exports::router::common::lifecycle;
pub(crate) use router::common::{host, types};
