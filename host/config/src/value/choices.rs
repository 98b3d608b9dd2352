//! Values that are one of a few choices.

use router_alerts::{Severity, settings::Grouping};
use router_core::Role;
use router_values::{LogFormat, OnRouterExit, Transport, quoted};

use crate::{
    Era, Sharing,
    node::Raw,
    suggest::nearest,
    value::{InvalidValue, Shape, Value, text},
};

macro_rules! choices {
    ($($type:ty: $what:literal, [$($choice:path),*], later [$($later:literal => $instead:literal),*];)*) => {$(
        impl Value for $type {
            const SHAPE: Shape = Shape::Text;
            fn read(raw: &Raw) -> Result<Self, Vec<InvalidValue>> {
                let all = [$($choice),*];
                let names: Vec<&str> = all.iter().map(|choice| choice.as_str()).collect();
                let remedy = format!("write one of: {}", names.join(", "));
                let text = text(raw, &remedy)?;
                let later: &[(&str, &str)] = &[$(($later, $instead)),*];
                if let Some((name, instead)) = later.iter().find(|(name, _)| *name == text) {
                    let what = format!(concat!("the ", $what, " \"{}\" is not served yet"), name);
                    return Err(vec![InvalidValue::new(what, *instead)]);
                }
                all.into_iter().find(|choice| choice.as_str() == text).ok_or_else(|| {
                    let what = format!(concat!("{} is not a known ", $what), quoted(text));
                    let remedy = match nearest(text, names.iter().copied()) {
                        Some(near) => format!("{remedy} (did you mean \"{near}\"?)"),
                        None => remedy,
                    };
                    vec![InvalidValue::new(what, remedy)]
                })
            }
            fn show(&self) -> String {
                self.as_str().to_owned().show()
            }
        }
    )*};
}

choices! {
    Severity: "severity", [Severity::P1, Severity::P2, Severity::P3, Severity::P4], later [];
    Grouping: "grouping", [Grouping::Group, Grouping::None], later [];
    Role: "role", [Role::Viewer, Role::Client, Role::Operator, Role::Admin], later [];
    LogFormat: "format", [LogFormat::Text, LogFormat::Json], later [];
    Transport: "transport", [Transport::Stdio, Transport::Socket], later [
        "http" => "use \"stdio\" or \"socket\" with a server that runs here; remote servers will follow"
    ];
    Sharing: "sharing", [Sharing::Shared], later [
        "per-session" => "use \"shared\", and one [[instance]] for each client that must not share; a slot per session will follow"
    ];
    Era: "era", [Era::Legacy], later [
        "auto" => "use \"legacy\", which every MCP server of today understands; the others will follow",
        "modern" => "use \"legacy\", which every MCP server of today understands; the others will follow"
    ];
    OnRouterExit: "choice", [OnRouterExit::Keep, OnRouterExit::Stop], later [];
}
