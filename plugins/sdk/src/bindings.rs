//! The interfaces of `wit/` that every kind of plugin has.

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package router:sdk;
        world plugin {
            import router:common/host@0.2.0;
            export router:common/lifecycle@0.2.0;
        }
    ",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_lifecycle",
    default_bindings_module: "router_plugin_sdk::bindings",
    additional_derives: [PartialEq],
});
