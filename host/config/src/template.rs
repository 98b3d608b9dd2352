//! `[template.NAME]`: how instances of one kind are launched.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use router_values::{OnRouterExit, Secret, Transport};

use crate::{
    BreakerConfig, PolicyList, PolicyName, TemplateName,
    instances::{IDLE_MIN, LONG},
    names::is_variable,
    reader::ConfigSection,
    value::{InvalidValue, Pattern, Value as _, VariableName},
};

/// `[template.NAME]`. Texts may hold `{placeholders}`; they are filled in for each instance by [`crate::Config::define`].
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Its name.
    pub name: TemplateName,
    /// The program: a path, or a name that is searched in the child's `PATH`.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment besides what every instance gets.
    pub env: BTreeMap<String, Secret>,
    /// Names passed on from the router's own environment.
    pub pass_env: Vec<String>,
    /// Working directory; the router's own when absent.
    pub cwd: Option<String>,
    /// How the instance is reached.
    pub transport: Transport,
    /// Whether sessions share one process.
    pub sharing: Sharing,
    /// Which MCP era is spoken to the instance.
    pub era: Era,
    /// What differs from `[instances]` and `[policy]`.
    pub tuning: Tuning,
    /// Thresholds in place of `[breaker]`, where `[template.NAME.breaker]` is there.
    pub breaker: Option<BreakerConfig>,
}

/// What a template, and an instance over its template, may say about itself. `None`: as the level above.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tuning {
    /// Started with the router, not on first use.
    pub autostart: Option<bool>,
    /// See [`crate::Instances::idle_timeout`].
    pub idle_timeout: Option<Switchable<Duration>>,
    /// See [`crate::Instances::spawn_timeout`].
    pub spawn_timeout: Option<Duration>,
    /// See [`crate::Instances::socket_timeout`].
    pub socket_timeout: Option<Duration>,
    /// See [`crate::Instances::request_timeout`].
    pub request_timeout: Option<Duration>,
    /// See [`crate::Instances::cache_ttl`].
    pub cache_ttl: Option<Switchable<Duration>>,
    /// See [`crate::StopConfig::drain`].
    pub drain: Option<Duration>,
    /// Resident memory of the whole tree, in MiB, at which a slot is killed. Without one: unlimited.
    pub max_memory_mb: Option<u64>,
    /// Processes of the whole tree, over which a slot is killed. Without one: unlimited.
    pub max_processes: Option<u32>,
    /// Soft and hard limit on open files. Without one: the router's own.
    pub max_open_files: Option<u64>,
    /// Whether instances outlive the router.
    pub on_router_exit: Option<OnRouterExit>,
    /// See [`crate::Instances::permanent_exit_codes`].
    pub permanent_exit_codes: Option<Vec<i32>>,
    /// `policy.health`: who judges health.
    pub health_policies: Option<PolicyList>,
    /// `policy.breaker`: who plans its breaker.
    pub breaker_policy: Option<PolicyName>,
}

/// A value, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switchable<T>(pub Option<T>);

/// Whether sessions share one process. (`per-session` will follow.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// All sessions on one.
    Shared,
}

impl Sharing {
    /// As it is written in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
        }
    }
}

/// Which MCP era is spoken to an instance. (`modern` and `auto` will follow.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// The one that begins with `initialize`.
    Legacy,
}

impl Era {
    /// As it is written in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
        }
    }
}

/// Names of templates that are there and cannot be used.
pub(crate) type Faulty = BTreeSet<TemplateName>;

impl Template {
    /// Reads all templates, and returns which of them are faulty: what uses those need not be checked against them.
    pub(crate) fn read_all(
        root: &ConfigSection<'_, '_>,
        breaker: &BreakerConfig,
    ) -> (BTreeMap<TemplateName, Self>, Faulty) {
        let (mut templates, mut faulty) = (BTreeMap::new(), Faulty::new());
        for (name, section) in root.named("template") {
            let before = root.reader.count();
            let template_name = TemplateName::parse(&name).ok();
            if template_name.is_none() {
                let what = "this is not the name of a template";
                let remedy = "write 1 to 64 lower-case letters, digits, - and _, and start with a letter or a digit";
                section
                    .reader
                    .fault(section.place(), section.path(), what, remedy);
            }
            let template = Self::read(&section, template_name.clone(), breaker);
            section.close();
            match template.filter(|_| root.reader.count() == before) {
                Some(template) => {
                    templates.insert(template.name.clone(), template);
                }
                None => faulty.extend(template_name),
            }
        }
        (templates, faulty)
    }

    fn read(
        section: &ConfigSection<'_, '_>,
        name: Option<TemplateName>,
        breaker: &BreakerConfig,
    ) -> Option<Self> {
        let command = section
            .key("command")
            .rule(|Pattern(command)| {
                let remedy = "write the program: a path, or a name that is on the PATH";
                if command.trim().is_empty() {
                    Err(InvalidValue::new("is empty", remedy))
                } else {
                    Ok(())
                }
            })
            .required("say which program to start: command = \"node\"");
        let args: Vec<Pattern> = section.key("args").or(Vec::new());
        let env = read_env(section);
        let pass_env: Vec<VariableName> = section.key("pass_env").or(Vec::new());
        let cwd: Option<Pattern> = section.key("cwd").optional();
        let transport = section.key("transport").or(Transport::Stdio);
        let sharing = section.key("sharing").or(Sharing::Shared);
        let era = section.key("era").or(Era::Legacy);
        let tuning = Tuning::read(section);
        let own_breaker = BreakerConfig::read(section, breaker);
        Some(Self {
            name: name?,
            command: command?.0,
            args: args.into_iter().map(|arg| arg.0).collect(),
            env,
            pass_env: pass_env.into_iter().map(|name| name.0).collect(),
            cwd: cwd.map(|cwd| cwd.0),
            transport,
            sharing,
            era,
            tuning,
            breaker: (own_breaker != *breaker).then_some(own_breaker),
        })
    }
}

impl Tuning {
    pub(crate) fn read(section: &ConfigSection<'_, '_>) -> Self {
        let (ms, seconds) = (Duration::from_millis, Duration::from_secs);
        let policy = section.child("policy");
        let health_policies = policy.key("health").optional();
        let breaker_policy = policy.key("breaker").optional();
        policy.close();
        Self {
            autostart: section.key("autostart").optional(),
            idle_timeout: section
                .key("idle_timeout")
                .within_or_off(IDLE_MIN, LONG)
                .optional(),
            spawn_timeout: section
                .key("spawn_timeout")
                .within(ms(100), seconds(3_600))
                .optional(),
            socket_timeout: section
                .key("socket_timeout")
                .within(ms(100), seconds(3_600))
                .optional(),
            request_timeout: section
                .key("request_timeout")
                .within(ms(100), seconds(86_400))
                .optional(),
            cache_ttl: section.key("cache_ttl").optional(),
            drain: section
                .key("drain")
                .within(Duration::ZERO, seconds(3_600))
                .optional(),
            // Below, no interpreter starts.
            max_memory_mb: section.key("max_memory_mb").within(8, 1_048_576).optional(),
            // Linux has no more (PID_MAX_LIMIT).
            max_processes: section.key("max_processes").within(1, 4_194_304).optional(),
            max_open_files: section
                .key("max_open_files")
                .within(16, 1_048_576)
                .optional(),
            on_router_exit: section.key("on_router_exit").optional(),
            permanent_exit_codes: section.key("permanent_exit_codes").optional(),
            health_policies,
            breaker_policy,
        }
    }
}

/// Names that the router sets itself.
const SET_BY_US: [&str; 4] = [
    "VERSION_ID",
    "SOCKET_PATH",
    "MCP_INSTANCE_MODE",
    "GODOT_MCP_SHIM",
];

/// Reads `env`. Values may hold placeholders.
pub(crate) fn read_env(section: &ConfigSection<'_, '_>) -> BTreeMap<String, Secret> {
    let mut env = BTreeMap::new();
    for (name, text) in section.texts("env") {
        let key = format!("{}.{name}", section.key_path("env"));
        if !is_variable(&name) {
            let remedy =
                "a variable's name holds letters, digits and _, and does not start with a digit";
            section
                .reader
                .fault_at(&key, "this is not the name of a variable", remedy);
        } else if SET_BY_US.contains(&name.as_str()) {
            section
                .reader
                .fault_at(&key, "the router sets this variable itself", "remove it");
        }
        // What is wrong is not quoted: values may be secrets.
        if Pattern::read(&crate::node::Raw::Text(text.clone())).is_err() {
            let remedy = "a placeholder is {name}; write {{ and }} for the signs themselves";
            section
                .reader
                .fault_at(&key, "its placeholders cannot be read", remedy);
        }
        env.insert(name, Secret::new(text));
    }
    env
}
