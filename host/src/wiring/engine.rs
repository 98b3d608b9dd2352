//! The plugin engine as the rest of the router uses it: its options, its answers, its events, and where plugins' values are saved.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
};

use router_config::{Config, PluginName, PolicyList, PolicyName};
use router_core::{
    ErrorKind,
    breaker::plan::{self, TOOL_PROFILES_MAX},
    health,
    policy::{Answer, Ask, NoAnswer, PolicyKind, PolicyNames, Question},
    spec::InstanceSpec,
};
use router_egress::EgressOptions;
use router_engine::{
    CandidateState, DEFAULT_WORLD, Engine, EngineEvent, EngineOptions, FailureKind, Kept, Limits,
    LoadFuture, NamedPolicies, PluginSettings, SaveFuture, SinkDefinition, ValueError, ValueKeeper,
};
use router_store::{Store, StoreError};
use router_supervisor::DataDir;
use router_telemetry::PluginFigures;
use tokio::runtime::Handle;

use super::tool_profiles;
use crate::{alerting::sinks::CONSOLE, driver::Asking, meters::RouterMeters};

/// What stands in metrics for files whose name cannot be a plugin's, nor a label: no plugin is called so.
const UNNAMED: &str = "_";

/// The engine's options. Must be called within a runtime, which reads and writes the plugins' values.
pub(crate) fn options(config: &Config, store: &Store, data_dir: &DataDir) -> EngineOptions {
    EngineOptions {
        plugins_dir: config.plugins.dir.clone(),
        trials_dir: Some(data_dir.path().join("plugin-generations")),
        cache_dir: Some(cache_dir(data_dir.path())),
        settings: settings(config),
        policies: Some(by_name(&policies(config))),
        name_fault,
        values: Arc::new(StoredValues {
            store: store.clone(),
            runtime: Handle::current(),
        }),
        reserve_address_space: true,
    }
}

/// Where compiled plugins are kept.
pub(crate) fn cache_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("plugin-cache")
}

/// The rule for a plugin's name is the configuration's, which names plugins so.
pub(crate) fn name_fault(name: &str) -> Option<String> {
    match PluginName::parse(name) {
        Err(error) => Some(format!("its file's name cannot be used: {error}")),
        Ok(_) if name == PolicyName::BUILTIN => Some(format!(
            "its file's name cannot be used: the policy {name} is the router's own rule"
        )),
        Ok(_) => None,
    }
}

/// A plugin, and what a policy names it for.
pub(crate) type NamedPolicy = (String, PolicyKind);

/// The plugins that a policy in the configuration file names: of the router, of a template, or of an instance.
pub(crate) fn policies(config: &Config) -> BTreeSet<NamedPolicy> {
    let templates = config.templates.values().map(|template| &template.tuning);
    let instances = config.instance.iter().map(|instance| &instance.tuning);
    let own = templates.chain(instances);
    let all = &config.policies;
    let (health, breaker): (Vec<_>, Vec<_>) = own
        .map(|tuning| {
            (
                tuning.health_policies.as_ref(),
                tuning.breaker_policy.as_ref(),
            )
        })
        .unzip();
    let health = health.into_iter().flatten().chain([&all.health]);
    let health = health.flat_map(PolicyList::plugins);
    let breaker = breaker.into_iter().flatten().chain([&all.breaker]);
    let breaker = breaker.filter_map(PolicyName::plugin);
    let capacity = all.capacity.plugin().into_iter();
    let rules = config.alerts.settings.rules.iter().map(|rule| &**rule);
    plugins(health, PolicyKind::Health)
        .chain(plugins(breaker, PolicyKind::Breaker))
        .chain(plugins(capacity, PolicyKind::Capacity))
        .chain(plugins(rules, PolicyKind::AlertRule))
        .collect()
}

/// The plugins that a policy of this instance names.
pub(crate) fn policies_of(spec: &InstanceSpec) -> BTreeSet<NamedPolicy> {
    let of = |names: &Option<PolicyNames>, kind| {
        let names = names.iter().flat_map(|names| names.iter().cloned());
        let names: Vec<Arc<str>> = names.collect();
        let named = plugins(names.iter().map(|name| &**name), kind);
        named.collect::<Vec<_>>()
    };
    let health = of(&spec.health_policies, PolicyKind::Health);
    let breaker = of(&spec.breaker_policy, PolicyKind::Breaker);
    health.into_iter().chain(breaker).collect()
}

fn plugins<'a>(
    policies: impl Iterator<Item = &'a str>,
    kind: PolicyKind,
) -> impl Iterator<Item = NamedPolicy> {
    policies
        .filter(|policy| *policy != PolicyName::BUILTIN)
        .map(move |policy| (policy.to_owned(), kind))
}

/// What each plugin is named for.
pub(crate) fn by_name<'a>(named: impl IntoIterator<Item = &'a NamedPolicy>) -> NamedPolicies {
    let mut all = NamedPolicies::new();
    for (plugin, kind) in named {
        all.entry(plugin.clone()).or_default().insert(*kind);
    }
    all
}

/// What a reload may change.
pub(crate) fn settings(config: &Config) -> PluginSettings {
    let plugins = &config.plugins;
    let limits = &plugins.limits;
    PluginSettings {
        config: plugins
            .config
            .iter()
            .map(|(name, table)| (name.to_string(), table.clone()))
            .collect(),
        sinks: sinks(config),
        limits: Limits {
            call_timeout: limits.call_timeout,
            memory_bytes: limits.memory_bytes,
            host_calls: limits.host_calls,
            log_bytes: limits.log_bytes,
            store_bytes: limits.store_bytes,
            file_bytes: limits.file_bytes,
        },
    }
}

/// Asks a policy. The caller bounds the wait.
pub(crate) fn ask(
    engine: Engine,
    meters: Arc<RouterMeters>,
    policy: Arc<str>,
    ask: &Ask,
) -> Asking {
    let (question, candidate) = (ask.question.clone(), ask.candidate);
    Box::pin(async move {
        let is_builtin = &*policy == PolicyName::BUILTIN;
        let answer = match question {
            Question::Health { facts, .. } if is_builtin => {
                Some(Ok(Answer::Health(health::builtin(&facts))))
            }
            Question::Health { facts, .. } => {
                let verdict = engine.judge(&policy, candidate, *facts).await;
                verdict.map(|verdict| verdict.map(Answer::Health))
            }
            Question::Breaker { profile, .. } if is_builtin => {
                let plan = plan::builtin(&profile.configured);
                Some(Ok(Answer::Breaker(Box::new(plan))))
            }
            Question::Breaker { instance, profile } => {
                let figures = meters.tool_figures(&instance, TOOL_PROFILES_MAX);
                let profile = tool_profiles::with(*profile, figures);
                let plan = engine.plan_breaker(&policy, candidate, profile).await;
                plan.map(|plan| plan.map(|plan| Answer::Breaker(Box::new(plan))))
            }
            Question::Capacity { load } => {
                let plan = engine.plan_capacity(&policy, candidate, *load).await;
                plan.map(|plan| plan.map(|plan| Answer::Capacity(Box::new(plan))))
            }
        };
        match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(failure)) => {
                meters.metrics.count_error(ErrorKind::Plugin);
                tracing::debug!(plugin = &*policy, reason = %failure, "policy did not answer");
                Err(match failure.kind {
                    FailureKind::Timeout => NoAnswer::TimedOut,
                    FailureKind::Trap | FailureKind::Limit | FailureKind::Start => {
                        NoAnswer::Trapped
                    }
                })
            }
            None => Err(NoAnswer::Absent),
        }
    })
}

/// What is wrong with settings of a plugin that nobody knows, and which one may be meant.
pub(crate) fn unknown_settings(plugin: &str, engine: &Engine) -> String {
    let known: Vec<String> = engine.list().into_iter().map(|view| view.name).collect();
    let near = router_config::nearest(plugin, known.iter().map(String::as_str));
    let near = near.map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"));
    format!("there is no plugin {plugin} for [plugins.config.{plugin}]{near}")
}

/// What each sink but the log is made of.
fn sinks(config: &Config) -> BTreeMap<String, SinkDefinition> {
    let sinks = config.sinks.iter();
    let sinks = sinks.filter(|(name, _)| name.as_str() != CONSOLE);
    let sinks = sinks.map(|(name, sink)| {
        let settings = SinkDefinition {
            plugin: sink.plugin.to_string(),
            config: sink.config.clone(),
            egress: EgressOptions {
                allow: sink.allow.clone(),
                secrets: sink.secrets.clone(),
                ca_file: sink.ca_file.clone(),
                proxy: sink.proxy.clone(),
            },
        };
        (name.to_string(), settings)
    });
    sinks.collect()
}

/// Whether an entry of the engine is a sink, in whose place nothing answers.
pub(crate) fn is_sink(entry: &str) -> bool {
    entry.starts_with("sink.")
}

/// Logs what happened to a plugin.
pub(crate) fn log(event: &EngineEvent) {
    match event {
        EngineEvent::Swapped {
            plugin,
            generation,
            summary,
        } => tracing::info!(
            plugin,
            generation,
            reason = summary,
            "plugin generation in service"
        ),
        EngineEvent::Refused {
            plugin,
            reason,
            serving,
        } => tracing::error!(plugin, generation = serving, reason, "plugin refused"),
        EngineEvent::Held {
            plugin,
            generation,
            reason,
        } => tracing::error!(
            plugin,
            generation,
            reason,
            "plugin generation held: it is not in force until an operator confirms it"
        ),
        EngineEvent::Rejected {
            plugin,
            generation,
            serving,
        } => tracing::info!(
            plugin,
            generation,
            reason = format!("generation {serving} is in force; 0: the built-in rule"),
            "plugin generation rejected by an operator"
        ),
        EngineEvent::Quarantined {
            plugin,
            reason,
            pause,
        } if is_sink(plugin) => tracing::error!(
            plugin,
            reason,
            elapsed_ms = router_values::whole_ms(*pause),
            "sink quarantined: its deliveries wait"
        ),
        EngineEvent::Quarantined {
            plugin,
            reason,
            pause,
        } => tracing::error!(
            plugin,
            reason,
            elapsed_ms = router_values::whole_ms(*pause),
            "plugin quarantined: the built-in rule answers"
        ),
        EngineEvent::Released { plugin } => {
            tracing::info!(plugin, "quarantine lifted: the plugin answers again");
        }
        EngineEvent::Lapsed { plugin } => {
            tracing::info!(plugin, "quarantine lifted: no policy uses the plugin");
        }
        EngineEvent::Missing { plugin } if is_sink(plugin) => {
            tracing::error!(plugin, "plugin of a sink not found: its deliveries wait");
        }
        EngineEvent::Removed { plugin } if is_sink(plugin) => {
            tracing::warn!(plugin, "sink removed: nothing is delivered there");
        }
        EngineEvent::Missing { plugin } => tracing::warn!(
            plugin,
            "plugin of a policy not found: the built-in rule answers"
        ),
        EngineEvent::Removed { plugin } => {
            tracing::warn!(plugin, "plugin removed: the built-in rule answers");
        }
    }
}

/// What the metrics show of plugins.
pub(crate) fn figures(engine: &Engine) -> Vec<PluginFigures> {
    let mut unnamed = 0;
    let mut all: Vec<PluginFigures> = Vec::new();
    for view in engine.list() {
        if PluginName::parse(&view.name).is_err() {
            unnamed += 1;
            continue;
        }
        all.push(PluginFigures {
            kind: view.world.to_owned(),
            generation: view.generation,
            quarantined: view.state == "quarantined",
            held: view
                .trial
                .is_some_and(|trial| trial.state == CandidateState::Held),
            calls: view.lifetime.calls,
            call_time: view.call_time,
            failures: owned(view.lifetime.failures_by_kind),
            reloads: view.reloads,
            refusals: owned(view.refusals),
            name: view.name,
        });
    }
    if unnamed > 0 {
        all.push(PluginFigures {
            name: UNNAMED.to_owned(),
            kind: DEFAULT_WORLD.to_owned(),
            refusals: vec![("bad_name".to_owned(), unnamed)],
            ..PluginFigures::default()
        });
    }
    all
}

fn owned(counts: BTreeMap<&'static str, u64>) -> Vec<(String, u64)> {
    let counts = counts.into_iter();
    counts
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

/// Plugins' values in the store. Its connections belong to another runtime than the guests', which must not hold one up.
struct StoredValues {
    store: Store,
    runtime: Handle,
}

impl StoredValues {
    /// Does something with the store, unless the database is not connected anyway: what only waits is no failed statement.
    async fn run<T: Send + 'static>(
        store: Store,
        runtime: Handle,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, ValueError> {
        if !store.state().borrow().is_connected() {
            return Err(ValueError::Unavailable(
                "the database is not connected".to_owned(),
            ));
        }
        match runtime.spawn(work).await {
            Ok(done) => done.map_err(value_error),
            Err(error) => Err(ValueError::Unavailable(error.to_string())),
        }
    }
}

/// Only what the store will never take is given up.
fn value_error(error: StoreError) -> ValueError {
    match error {
        StoreError::Invalid(_) | StoreError::PluginFull { .. } => {
            ValueError::Refused(error.to_string())
        }
        passing => ValueError::Unavailable(passing.to_string()),
    }
}

impl ValueKeeper for StoredValues {
    fn load(&self, plugin: &str) -> LoadFuture {
        let (store, plugin) = (self.store.clone(), plugin.to_owned());
        let read = {
            let store = store.clone();
            async move {
                let mut values = Kept::new();
                for key in store.kv_list(&plugin, "").await? {
                    if let Some(value) = store.kv_get(&plugin, &key).await? {
                        values.insert(key, value);
                    }
                }
                Ok(values)
            }
        };
        Box::pin(Self::run(store, self.runtime.clone(), read))
    }

    fn save(&self, plugin: &str, key: &str, value: Option<Vec<u8>>) -> SaveFuture {
        let store = self.store.clone();
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        let written = {
            let store = store.clone();
            async move {
                match value {
                    Some(value) => store.kv_put(&plugin, &key, &value).await,
                    None => store.kv_delete(&plugin, &key).await.map(drop),
                }
            }
        };
        Box::pin(Self::run(store, self.runtime.clone(), written))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use router_config::{Config, Environment, load};
    use router_engine::Limits;

    fn config(text: &str) -> Config {
        let environment = Environment::new(Path::new("/"), [("", ""); 0]);
        load(text, Path::new("router.toml"), &environment).unwrap()
    }

    #[test]
    fn the_documented_bounds_are_those_of_the_engine() {
        assert_eq!(super::settings(&config("")).limits, Limits::default());
    }

    #[test]
    fn a_file_is_called_as_the_configuration_can_call_it() {
        for name in ["default-health", "a", "0_x", &"x".repeat(64)] {
            assert_eq!(super::name_fault(name), None, "{name}");
        }
        for name in [
            "builtin",
            "Upper",
            "-x",
            "_",
            "a b",
            "",
            "ä",
            &"x".repeat(65),
        ] {
            let fault = super::name_fault(name).unwrap();
            assert!(fault.contains("cannot be used"), "{fault}");
        }
    }
}
