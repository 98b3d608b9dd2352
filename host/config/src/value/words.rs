//! Values that are one of a few words.

use router_core::Role;
use router_values::{LogFormat, OnRouterExit, Transport};

use crate::{
    Era, Sharing,
    node::Raw,
    suggest::nearest,
    value::{Refusal, Shape, Value, quoted, text},
};

macro_rules! words {
    ($($type:ty: $what:literal, [$($word:path),*], later [$($later:literal => $instead:literal),*];)*) => {$(
        impl Value for $type {
            const SHAPE: Shape = Shape::Text;
            fn read(raw: &Raw) -> Result<Self, Vec<Refusal>> {
                let all = [$($word),*];
                let words: Vec<&str> = all.iter().map(|word| word.as_str()).collect();
                let choice = format!("write one of: {}", words.join(", "));
                let text = text(raw, &choice)?;
                let later: &[(&str, &str)] = &[$(($later, $instead)),*];
                if let Some((word, instead)) = later.iter().find(|(word, _)| *word == text) {
                    let what = format!(concat!("the ", $what, " \"{}\" is not served yet"), word);
                    return Err(vec![Refusal::new(what, *instead)]);
                }
                all.into_iter().find(|word| word.as_str() == text).ok_or_else(|| {
                    let what = format!(concat!("{} is not a known ", $what), quoted(text));
                    let remedy = match nearest(text, words.iter().copied()) {
                        Some(near) => format!("{choice} (did you mean \"{near}\"?)"),
                        None => choice,
                    };
                    vec![Refusal::new(what, remedy)]
                })
            }
            fn show(&self) -> String {
                self.as_str().to_owned().show()
            }
        }
    )*};
}

words! {
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
