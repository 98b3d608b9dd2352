//! The whole configuration, and how it is read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use router_alerts::settings::Grouping;
use router_values::is_reachable;
use serde_json::error::Category;

use crate::{
    Alerts, Audit, BreakerConfig, ConfigFault, Environment, Faults, HealthConfig, InstanceConfig,
    Instances, Logging, Place, Plugins, Policies, Server, Setting, SinkConfig, SinkName, Storage,
    Template, TemplateName, TokenConfig, WebAddress,
    node::{self, Lines, Raw},
    policies::check_kinds,
    reader::{ConfigReader, ConfigSection},
    sinks::ReadSinks,
    template::Faulty,
};

/// Everything that the router is configured with. Holds no invalid value.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it was read, for messages.
    pub file: PathBuf,
    /// What relative paths started from.
    pub working_dir: PathBuf,
    /// `[server]`.
    pub server: Server,
    /// `[[token]]`.
    pub tokens: Vec<TokenConfig>,
    /// `[storage]`.
    pub storage: Storage,
    /// `[audit]`.
    pub audit: Audit,
    /// `[logging]`.
    pub logging: Logging,
    /// `[instances]`.
    pub instances: Instances,
    /// `[breaker]`.
    pub breaker: BreakerConfig,
    /// `[health]`.
    pub health: HealthConfig,
    /// `[policy]`.
    pub policies: Policies,
    /// `[plugins]`.
    pub plugins: Plugins,
    /// `[sink.NAME]`, what the environment makes in its place, and the console.
    pub sinks: BTreeMap<SinkName, SinkConfig>,
    /// `[alerts]`.
    pub alerts: Alerts,
    /// `[template.NAME]`.
    pub templates: BTreeMap<TemplateName, Template>,
    /// `[[instance]]`, in the order of the file.
    pub instance: Vec<InstanceConfig>,
    /// What is not wrong, and yet may not be what was meant.
    pub notices: Vec<Notice>,
    /// Every key with its value, its default and where the value comes from, in the order of the schema.
    pub settings: Vec<Setting>,
}

/// Something that is not wrong, and yet may not be what was meant. Said by `check` and logged at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The key or the variable.
    pub key: String,
    /// What, and what to do about it.
    pub what: String,
}

/// Reads a configuration. `path` is only for messages; relative paths in the text start from the environment's working
/// directory.
///
/// # Errors
/// Everything that is wrong with the text or the environment.
pub fn load(text: &str, path: &Path, environment: &Environment) -> Result<Config, Faults> {
    let (document, mut faults, judged) = node::from_toml(text);
    if !judged {
        return Err(Faults::new(Some(path.to_owned()), faults));
    }
    let lines = Lines::new(text);
    let reader = ConfigReader::new(environment, Some(&lines));
    let root = reader.root(&document);
    let mut config = Config::read(&root, path);
    root.close();
    config.check(&reader);
    reader.check_variables();
    let (found, notices, settings) = reader.finish();
    faults.extend(found);
    if !faults.is_empty() {
        return Err(Faults::new(Some(path.to_owned()), faults));
    }
    config.notices = notices;
    config.settings = settings;
    Ok(config)
}

/// Reads a configuration from its file.
///
/// # Errors
/// The file cannot be read or is not UTF-8, or everything that is wrong with its text or the environment.
pub fn load_file(path: &Path, environment: &Environment) -> Result<Config, Faults> {
    let read = File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        // One byte more, by which a file that is too long shows.
        file.take(node::TEXT_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    let bytes = read.map_err(|error| {
        let remedy = "name the file with --config; config/router.toml shows every key";
        Faults::unreadable(
            path,
            Place::File,
            format!("cannot be read: {error}"),
            remedy,
        )
    })?;
    let cut = bytes.len() > node::TEXT_BYTES_MAX;
    match std::str::from_utf8(&bytes) {
        Ok(text) => load(text, path, environment),
        // A character that is cut in half is no fault of the file's: that it is too long is.
        Err(_) if cut => load(&String::from_utf8_lossy(&bytes), path, environment),
        Err(error) => {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let place = Lines::new(&before).place(before.len());
            Err(Faults::unreadable(
                path,
                place,
                "this is not UTF-8".to_owned(),
                "save the file as UTF-8",
            ))
        }
    }
}

/// Reads the body of `POST /api/instances`: a JSON object with the keys of `[[instance]]`, by the same rules. `id` may be a
/// number. The ids and the number of the instances that are already there are the caller's business.
///
/// # Errors
/// Everything that is wrong with it, also with what it makes of its template.
pub fn parse_instance_json(text: &str, config: &Config) -> Result<InstanceConfig, Faults> {
    let refused = |what: String, remedy: &str| {
        let fault = ConfigFault {
            place: Place::Body,
            key: String::new(),
            what,
            remedy: remedy.to_owned(),
        };
        Faults::new(None, vec![fault])
    };
    const REMEDY: &str =
        r#"send a JSON object, such as {"id": "demo", "template": "godot", "vars": {…}}"#;
    if text.len() > node::TEXT_BYTES_MAX {
        return Err(refused(
            format!("the definition has {} bytes", text.len()),
            REMEDY,
        ));
    }
    let (node, doubled) = node::from_json(text).map_err(|error| {
        let what = match error.classify() {
            Category::Data => error.to_string(),
            _ => format!("this is not JSON: {error}"),
        };
        refused(what, REMEDY)
    })?;
    let Raw::Table(table) = node.raw else {
        return Err(refused("this is not a JSON object".to_owned(), REMEDY));
    };
    // Nothing of an instance comes from the environment.
    let environment = Environment::new(&config.working_dir, [("", ""); 0]);
    let reader = ConfigReader::new(&environment, None);
    for path in doubled {
        reader.fault(
            Place::Body,
            path,
            "this name was given before",
            "keep one of the two",
        );
    }
    let section = reader.root(&table);
    let instance = InstanceConfig::read(&section, config, (&Faulty::new(), &mut BTreeSet::new()));
    section.close();
    let (faults, _, _) = reader.finish();
    match instance {
        Some(instance) if faults.is_empty() => Ok(instance),
        _ => Err(Faults::new(None, faults)),
    }
}

impl Config {
    fn read(root: &ConfigSection<'_, '_>, path: &Path) -> Self {
        let server = Server::read(root);
        let breaker = BreakerConfig::read(root, &BreakerConfig::default());
        let (templates, faulty) = Template::read_all(root, &breaker);
        let sinks = ReadSinks::read(root);
        let mut config = Self {
            file: path.to_owned(),
            working_dir: root.reader.environment.working_dir().to_owned(),
            server,
            tokens: TokenConfig::read_all(root),
            storage: Storage::read(root),
            audit: Audit::read(root),
            logging: Logging::read(root),
            instances: Instances::read(root),
            breaker,
            health: HealthConfig::read(root),
            policies: Policies::read(root),
            plugins: Plugins::read(root),
            alerts: Alerts::read(root, &sinks),
            sinks: sinks.sinks,
            templates,
            instance: Vec::new(),
            notices: Vec::new(),
            settings: Vec::new(),
        };
        let (mut ids, mut places) = (BTreeSet::new(), Vec::new());
        for section in root.items("instance") {
            let instance = InstanceConfig::read(&section, &config, (&faulty, &mut ids));
            places.extend(instance.as_ref().map(|_| section.path().to_owned()));
            config.instance.extend(instance);
            section.close();
        }
        check_kinds(&config, &places, root.reader);
        config
    }

    /// What is wrong between sections.
    fn check(&self, reader: &ConfigReader<'_>) {
        let has_tokens = reader.is_set("token[1]");
        if is_reachable(self.server.listen) && !has_tokens {
            let what = format!(
                "{} can be reached from elsewhere, and there is no token",
                self.server.listen
            );
            let remedy =
                "add a [[token]] (`godot-mcp-router token new` prints one), or listen on 127.0.0.1";
            reader.fault_at("server.listen", what, remedy);
        }
        if has_tokens && !reader.is_set("server.loopback_roles") {
            let what = "every caller on this machine is client and operator without a token; so is everybody behind a \
                        proxy on this machine that adds no header such as X-Forwarded-For. Say what such callers may do";
            reader.notice("server.loopback_roles", what);
        }
        if self.instance.len() > self.instances.max_instances {
            let what = format!("there are {} [[instance]] sections", self.instance.len());
            reader.fault_at(
                "instances.max_instances",
                what,
                "raise max_instances, or remove some",
            );
        }
        let (log_days, audit_days) = (self.logging.retention_days, self.audit.retention_days);
        if self.audit.enabled && log_days != 0 && (audit_days == 0 || log_days < audit_days) {
            let what = "shorter than audit.retention_days: the AUDIT lines in the log go before the audit rows do";
            reader.notice("logging.retention_days", what);
        }
        if reader.environment.variable("GODOT_PROJECTS_PATH").is_some() {
            let what = "projects are not discovered yet: list each version as an [[instance]]";
            reader.notice("GODOT_PROJECTS_PATH", what);
        }
        self.note_acknowledging(reader);
    }

    /// What is not wrong about acknowledging from elsewhere, but may not be meant.
    fn note_acknowledging(&self, reader: &ConfigReader<'_>) {
        let public = self.alerts.public_url.as_ref().map(WebAddress::origin);
        if public.is_some_and(|origin| !origin.is_https() && !origin.host().is_loopback()) {
            let what =
                "links to acknowledge by are used without TLS: who reads one on its way may use it";
            reader.notice("alerts.public_url", what);
        }
        for (name, sink) in &self.sinks {
            if sink.webhook_secret.is_some() && sink.settings.grouping == Grouping::Group {
                let what = "what is done to an incident there changes nothing here, since one is a group of alerts: set \
                            grouping = \"none\"";
                reader.notice(format!("sink.{name}.webhook_secret"), what);
            }
        }
    }
}

#[cfg(test)]
mod tests;
