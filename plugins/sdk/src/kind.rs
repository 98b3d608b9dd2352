//! What every kind of plugin has in the same form: its bindings, the first part of its trait, and how it is exported. Each module of
//! a kind says only what it has of its own.

/// The bindings of a kind: of `wit/`'s interface that its world exports, and what else that world imports. What another kind has made
/// already of an interface is used again: `"router:alerts/types@0.2.0": crate::…`.
macro_rules! kind_bindings {
    ($export_macro:literal, $world:literal $(, $($made:tt)+)?) => {
        #[allow(
            unsafe_code,
            missing_docs,
            unreachable_pub,
            unused_qualifications,
            clippy::all,
            clippy::pedantic,
            reason = "generated from wit/"
        )]
        #[doc(hidden)]
        pub mod bindings {
            wit_bindgen::generate!({
                path: "../../wit",
                inline: $world,
                generate_all,
                with: {
                    "router:common/types@0.2.0": crate::bindings::router::common::types,
                    $($($made)+)?
                },
                pub_export_macro: true,
                export_macro_name: $export_macro,
                additional_derives: [PartialEq],
            });
        }
    };
}

/// The trait of a kind: what every plugin says of itself, and the kind's question.
macro_rules! kind_trait {
    ($(#[$documented:meta])* pub trait $kind:ident { $($question:tt)* }) => {
        $(#[$documented])*
        pub trait $kind {
            /// Its name, for people.
            const NAME: &'static str;
            /// What it does, in one line.
            const SUMMARY: &'static str;
            /// Its version; give `env!("CARGO_PKG_VERSION")`.
            const VERSION: &'static str = "0.0.0";

            /// Names everything that is wrong with the configuration. By default anything is accepted.
            #[must_use]
            fn check(settings: &$crate::Settings) -> Vec<$crate::ConfigFault> {
                let _ = settings;
                Vec::new()
            }

            $($question)*
        }
    };
}

pub(crate) use {kind_bindings, kind_trait};

/// Exports a plugin: the question of its kind, and what every plugin is asked. `$exported` is the function of the interface
/// `$package::$interface`, and `$asked` that of the trait. For wasm only. For the macro of each kind.
#[doc(hidden)]
#[macro_export]
macro_rules! export_plugin {
    (
        $plugin:ident, $module:ident::$kind:ident, $package:ident::$interface:ident by $export:ident,
        $exported:ident($($question:ident: $type:ty),*) -> $answer:ty = $asked:ident
    ) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::$module::*;

            struct Exported;

            impl bindings::exports::router::$package::$interface::Guest for Exported {
                fn $exported(
                    $($question: $type,)*
                    settings: Vec<$crate::bindings::router::common::types::Setting>,
                ) -> $answer {
                    let settings = $crate::Settings::from_guest(settings);
                    <$plugin as $kind>::$asked($(&$question,)* &settings)
                }
            }

            $crate::export_plugin_lifecycle!(Exported, $plugin as $kind);
            $crate::$module::bindings::$export!(Exported with_types_in $crate::$module::bindings);
        };
    };
}

/// What every plugin is asked, from what the trait of its kind says.
#[doc(hidden)]
#[macro_export]
macro_rules! export_plugin_lifecycle {
    ($exported:ident, $plugin:ident as $kind:path) => {
        impl $crate::bindings::exports::router::common::lifecycle::Guest for $exported {
            fn describe() -> $crate::bindings::router::common::types::Description {
                $crate::bindings::router::common::types::Description {
                    name: <$plugin as $kind>::NAME.to_owned(),
                    version: <$plugin as $kind>::VERSION.to_owned(),
                    summary: <$plugin as $kind>::SUMMARY.to_owned(),
                    attributes: Vec::new(),
                }
            }

            fn validate_config(
                settings: Vec<$crate::bindings::router::common::types::Setting>,
            ) -> Vec<$crate::ConfigFault> {
                <$plugin as $kind>::check(&$crate::Settings::from_guest(settings))
            }
        }
        $crate::bindings::export_lifecycle!($exported with_types_in $crate::bindings);
    };
}
