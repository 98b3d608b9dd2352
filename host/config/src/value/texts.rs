//! Values that are texts with a form of their own: paths, hosts, names, addresses, ids.

use std::net::SocketAddr;

use router_alerts::matcher::Pattern as AlertPattern;
use router_core::InstanceId;
use router_values::{Authority, LogFilter, Origin, TokenHash, quoted};

use crate::{
    ChainName, PluginName, PolicyName, SinkName, SinkRate, TableName, TemplateName, WebAddress,
    names::is_variable,
    node::Raw,
    value::{InvalidValue, Shape, Value, parsed},
};

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident, $remedy:expr, $valid:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) String);
        impl Value for $name {
            const SHAPE: Shape = Shape::Text;
            fn read(raw: &Raw) -> Result<Self, Vec<InvalidValue>> {
                let valid: fn(&str) -> Result<String, String> = $valid;
                parsed(raw, $remedy, valid).map(Self)
            }
            fn show(&self) -> String {
                self.0.show()
            }
        }
    )*};
}

fn when(valid: bool, text: &str, what: &str) -> Result<String, String> {
    if valid {
        Ok(text.to_owned())
    } else {
        Err(format!("{} is {what}", quoted(text)))
    }
}

texts! {
    /// A path as it is written.
    PathText, "write a path; a relative one starts from the directory the router is started in", |text| {
        when(!text.is_empty(), text, "not a path")
    };
    /// The name of an environment variable.
    VariableName, "a variable's name holds letters, digits and _, and does not start with a digit", |text| {
        when(is_variable(text), text, "not the name of a variable")
    };
    /// The name of a router or a token: printable and short, for it becomes a label and a column.
    Label, "write 1 to 64 letters, digits and . _ @ -, and start with a letter or a digit", |text| {
        when(InstanceId::parse(text).is_ok(), text, "not a name")
    };
}

macro_rules! parsed_values {
    ($($type:ty, $remedy:expr, $parse:expr, $show:expr;)*) => {$(
        impl Value for $type {
            const SHAPE: Shape = Shape::Text;
            fn read(raw: &Raw) -> Result<Self, Vec<InvalidValue>> {
                let parse: fn(&str) -> Result<Self, String> = $parse;
                parsed(raw, $remedy, parse)
            }
            fn show(&self) -> String {
                let show: fn(&Self) -> String = $show;
                show(self).show()
            }
        }
    )*};
}

/// Where a sink may send requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpOrigin(pub(crate) Origin);

const NAME_REMEDY: &str =
    "write 1 to 64 lower-case letters, digits, - and _, and start with a letter or a digit";

parsed_values! {
    SocketAddr, "write an address and a port, such as \"127.0.0.1:3002\" or \"[::1]:3002\"", |text| {
        text.parse().map_err(|_| format!("{} is not an address with a port", quoted(text)))
    }, ToString::to_string;
    Authority, "write a name or an address, with its port where only that one counts: \"router.example.org\"", |text| {
        Self::parse(text).map_err(|_| format!("{} is not a host", quoted(text)))
    }, ToString::to_string;
    Origin, "write scheme, host and, where it is not the usual one, port: \"https://console.example.org\"", |text| {
        Self::parse(text).map_err(|_| format!("{} is not an origin", quoted(text)))
    }, ToString::to_string;
    HttpOrigin, "write scheme, host and, where it is not the usual one, port: \"https://hooks.slack.com\"", |text| {
        let parsed = Origin::parse_http(text).map(Self);
        parsed.map_err(|what| format!("{} is not an origin: {what}", quoted(text)))
    }, |origin| origin.0.to_string();
    LogFilter, "write error, warn, info, debug or trace, or a filter such as \"info,router_proxy=debug\"", |text| {
        Self::parse(text).map_err(|error| error.to_string())
    }, ToString::to_string;
    SinkName, NAME_REMEDY, |text| Self::parse(text).map_err(|_| format!("{} is not a sink's name", quoted(text))),
        ToString::to_string;
    ChainName, NAME_REMEDY, |text| Self::parse(text).map_err(|_| format!("{} is not a chain's name", quoted(text))),
        ToString::to_string;
    SinkRate, "write how many in a second or a minute, from 1 to 1000: \"1/s\" or \"120/m\"", |text| {
        Self::parse(text).ok_or_else(|| format!("{} is not a rate", quoted(text)))
    }, ToString::to_string;
    WebAddress, "write a whole address: \"https://wiki.example.org/router-runbook\"", |text| {
        Self::parse(text).map_err(|what| format!("{} is not an address: {what}", quoted(text)))
    }, ToString::to_string;
    AlertPattern, "write a name, in which * stands for any text: \"disk-*\"", |text| {
        Self::parse(text).map_err(|error| error.to_string())
    }, ToString::to_string;
    TemplateName, NAME_REMEDY, |text| Self::parse(text).map_err(|_| format!("{} is not a template's name", quoted(text))),
        ToString::to_string;
    PluginName, NAME_REMEDY, |text| Self::parse(text).map_err(|_| format!("{} is not a plugin's name", quoted(text))),
        ToString::to_string;
    PolicyName, "write the name of a plugin (its file without .wasm), or \"builtin\"", |text| {
        Self::parse(text).map_err(|_| format!("{} is not a policy's name", quoted(text)))
    }, ToString::to_string;
    TableName, "write \"table\" or \"schema.table\", in plain lower-case identifiers", |text| {
        table_name(text).ok_or_else(|| format!("{} is not a table's name", quoted(text)))
    }, ToString::to_string;
    TokenHash, "make one with `godot-mcp-router token new`, and copy the line that it prints", |text| {
        Self::parse(text).map_err(|error| error.to_string())
    }, |_| "[redacted]".to_owned();
}

/// An id may be a number in JSON, as the API shows it.
impl Value for InstanceId {
    const SHAPE: Shape = Shape::Text;
    fn read(raw: &Raw) -> Result<Self, Vec<InvalidValue>> {
        const REMEDY: &str =
            "write 1 to 64 letters, digits and . _ @ -, and start with a letter or a digit";
        let number = match raw {
            Raw::Integer(number) if *number >= 0 => Some(Raw::Text(number.to_string())),
            Raw::Huge(_) => {
                let what = "this number is too large to be read digit by digit";
                return Err(vec![InvalidValue::new(what, "write it in double quotes")]);
            }
            _ => None,
        };
        parsed(number.as_ref().unwrap_or(raw), REMEDY, |text| {
            Self::parse(text).map_err(|_| format!("{} is not an instance id", quoted(text)))
        })
    }
    fn show(&self) -> String {
        self.to_string().show()
    }
}

fn table_name(text: &str) -> Option<TableName> {
    // Longer names are cut by Postgres, silently.
    let identifier = |part: &str| {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        is_variable(part) && part.bytes().all(is_plain) && part.len() <= 63
    };
    let (schema, table) = match text.split_once('.') {
        Some((schema, table)) => (Some(schema), table),
        None => (None, text),
    };
    (identifier(table) && schema.is_none_or(identifier)).then(|| TableName {
        schema: schema.map(ToOwned::to_owned),
        table: table.to_owned(),
    })
}
