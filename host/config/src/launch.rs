//! From template, instance and defaults to what the core decides by and what is launched. No I/O.

mod faults;

use std::{path::PathBuf, time::Duration};

use router_core::{
    settings::{BreakerThresholds, CrashLoopSettings, RestartSettings, Settings},
    spec::{InstanceSpec, Source},
};

use router_values::{OnRouterExit, Secret, Transport, whole_ms};

use crate::{
    BreakerConfig, Config, ConfigFault, Faults, InstanceConfig, Place, Sharing, Switchable,
    Template, TemplateName, pattern,
};

/// An instance with every placeholder filled in and every default resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceDefinition {
    /// What the core decides by. [`InstanceSpec::digest`] is [`LaunchPlan::digest`].
    pub spec: InstanceSpec,
    /// How it is launched.
    pub launch: LaunchPlan,
    /// How long it may take for what.
    pub waits: Waits,
}

/// How one slot is launched.
#[derive(Debug, Clone, PartialEq)]
pub struct LaunchPlan {
    /// The template it is made from.
    pub template: TemplateName,
    /// The program. `godot-mcp-router` stands for the running program itself, wherever it is.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment besides what every instance gets, sorted by name.
    pub env: Vec<(String, Secret)>,
    /// Names passed on from the router's own environment.
    pub pass_env: Vec<String>,
    /// Working directory, absolute; the router's own when absent.
    pub cwd: Option<PathBuf>,
    /// How it is reached.
    pub transport: Transport,
    /// Whether sessions share one process.
    pub sharing: Sharing,
    /// Where slot 0 is reached.
    pub socket_path: PathBuf,
    /// Soft and hard limit on open files.
    pub max_open_files: Option<u64>,
    /// Resident memory of the tree at which it is killed, in bytes.
    pub max_memory_bytes: Option<u64>,
    /// Processes of the tree, over which it is killed. They are counted by the router, so that another number counts for
    /// a running process too: it is no part of the digest.
    pub max_processes: Option<u32>,
    /// What becomes of it when the router ends.
    pub on_router_exit: OnRouterExit,
    /// Between SIGTERM and SIGKILL when the shim stops by itself.
    pub stop_grace: Duration,
    /// Names everything that a running process depends on. The same in every version of the router.
    pub digest: u64,
}

/// How long the router waits for one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// Connecting and the answer to the handshake.
    pub socket: Duration,
    /// A request of a client.
    pub request: Duration,
    /// How long lists may be served from memory; zero: never.
    pub cache_ttl: Duration,
    /// A call that is answered after so long counts as slow for its breaker, unless its policy says otherwise; `None`: none does.
    pub slow: Option<Duration>,
}

impl Config {
    /// Fills in the template of an instance.
    ///
    /// # Errors
    /// The template is gone, a placeholder has no value, a value has no placeholder, or an argument, a variable or the socket's
    /// path is too long. Never for the instances of this configuration itself.
    pub fn define(
        &self,
        instance: &InstanceConfig,
        source: Source,
    ) -> Result<InstanceDefinition, Faults> {
        let found = self.definition_faults(instance);
        let template = self
            .templates
            .get(&instance.template)
            .filter(|_| found.is_empty());
        let Some(template) = template else {
            let faults = found.into_iter().map(|fault| ConfigFault {
                place: Place::Body,
                key: fault.key,
                what: fault.what,
                remedy: fault.remedy,
            });
            return Err(Faults::new(None, faults.collect()));
        };
        let launch = self.plan(instance, template);
        let (own, kind) = (&instance.tuning, &template.tuning);
        let all = &self.instances;
        let health_policies = own.health_policies.as_ref();
        let health_policies = health_policies.or(kind.health_policies.as_ref());
        let breaker_policy = own.breaker_policy.as_ref();
        let breaker_policy = breaker_policy.or(kind.breaker_policy.as_ref());
        let spec = InstanceSpec {
            autostart: own.autostart.or(kind.autostart).unwrap_or(false),
            idle_stop_ms: switched(own.idle_timeout, kind.idle_timeout, all.idle_timeout)
                .map(whole_ms),
            spawn_timeout_ms: whole_ms(
                own.spawn_timeout
                    .or(kind.spawn_timeout)
                    .unwrap_or(all.spawn_timeout),
            ),
            drain_ms: whole_ms(own.drain.or(kind.drain).unwrap_or(all.stop.drain)),
            max_memory_bytes: launch.max_memory_bytes,
            max_processes: launch.max_processes,
            permanent_exit_codes: own
                .permanent_exit_codes
                .as_ref()
                .or(kind.permanent_exit_codes.as_ref())
                .unwrap_or(&all.permanent_exit_codes)
                .clone(),
            keep_on_exit: launch.on_router_exit == OnRouterExit::Keep,
            breaker: template.breaker.as_ref().map(thresholds),
            health_policies: health_policies.map(crate::PolicyList::names),
            breaker_policy: breaker_policy.map(crate::PolicyName::names),
            template: template.name.as_str().into(),
            transport: launch.transport.as_str(),
            ..InstanceSpec::new(instance.id.clone(), source, launch.digest)
        };
        let waits = Waits {
            socket: own
                .socket_timeout
                .or(kind.socket_timeout)
                .unwrap_or(all.socket_timeout),
            request: own
                .request_timeout
                .or(kind.request_timeout)
                .unwrap_or(all.request_timeout),
            cache_ttl: switched(own.cache_ttl, kind.cache_ttl, all.cache_ttl).unwrap_or_default(),
            slow: template.breaker.as_ref().unwrap_or(&self.breaker).slow,
        };
        Ok(InstanceDefinition {
            spec,
            launch,
            waits,
        })
    }

    fn socket_text(&self, instance: &InstanceConfig, template: &Template) -> String {
        let path = self.socket_path(instance.id.as_str(), template.transport, false);
        path.display().to_string()
    }

    /// Where slot 0 is reached, or with `longest` the longest socket path that the slot needs.
    fn socket_path(&self, id: &str, transport: Transport, longest: bool) -> PathBuf {
        let shim = if longest && transport == Transport::Socket {
            "~shim"
        } else {
            ""
        };
        self.instances
            .socket_dir
            .join(format!("godot-mcp-{id}{shim}.sock"))
    }

    fn plan(&self, instance: &InstanceConfig, template: &Template) -> LaunchPlan {
        let socket_path = self.socket_path(instance.id.as_str(), template.transport, false);
        let socket_text = self.socket_text(instance, template);
        let value = value_of(instance, &socket_text);
        let fill = |text: &str| pattern::fill(text, &value);
        let command = fill(&template.command);
        let mut env: Vec<(String, Secret)> = env_of(instance, template)
            .map(|(name, text)| (name.clone(), Secret::new(fill(text.expose()))))
            .collect();
        env.sort_by(|a, b| a.0.cmp(&b.0));
        let (own, kind) = (&instance.tuning, &template.tuning);
        let mut plan = LaunchPlan {
            template: template.name.clone(),
            // A path must mean the same whatever directory the child starts in.
            command: if command.contains('/') {
                self.working_dir.join(command).display().to_string()
            } else {
                command
            },
            args: template.args.iter().map(|arg| fill(arg)).collect(),
            env,
            pass_env: template.pass_env.clone(),
            cwd: template
                .cwd
                .as_ref()
                .map(|cwd| self.working_dir.join(fill(cwd))),
            transport: template.transport,
            sharing: template.sharing,
            socket_path,
            max_open_files: own.max_open_files.or(kind.max_open_files),
            max_memory_bytes: own.max_memory_mb.or(kind.max_memory_mb).map(|mb| mb << 20),
            max_processes: own.max_processes.or(kind.max_processes),
            on_router_exit: own
                .on_router_exit
                .or(kind.on_router_exit)
                .unwrap_or(OnRouterExit::Keep),
            stop_grace: self.instances.stop.term,
            digest: 0,
        };
        plan.digest = digest(&plan);
        plan
    }

    /// Where each threshold of a template's breaker comes from, by its name in JSON: the section whose value it is, or `default`.
    #[must_use]
    pub fn breaker_origins(&self, template: &str) -> Vec<(&'static str, String)> {
        let template = self
            .templates
            .iter()
            .find(|(name, _)| name.as_str() == template);
        let own = template.and_then(|(_, template)| template.breaker.as_ref());
        let (default, all) = (BreakerConfig::default(), &self.breaker);
        let levels = [&default, all, own.unwrap_or(all)].map(|level| thresholds(level).named());
        let [default, all, own] = levels;
        let levels = default.into_iter().zip(all).zip(own);
        levels
            .map(|(((key, default), (_, all)), (_, own))| {
                let origin = match template {
                    Some((name, _)) if own != all => format!("template.{name}.breaker"),
                    _ if all != default => "breaker".to_owned(),
                    _ => "default".to_owned(),
                };
                (key, origin)
            })
            .collect()
    }

    /// The numbers that the core decides by. `seed` and `first_run` are the caller's.
    #[must_use]
    pub fn core_settings(&self, seed: u64, first_run: u64) -> Settings {
        let (instances, health) = (&self.instances, &self.health);
        Settings {
            seed,
            first_run,
            restart: RestartSettings {
                first_ms: whole_ms(instances.restart.initial),
                max_ms: whole_ms(instances.restart.max),
                jitter: instances.restart.jitter,
                forget_after_ms: whole_ms(instances.restart.reset_after),
            },
            crash_loop: CrashLoopSettings {
                failures: instances.crash_loop.failures,
                window_ms: whole_ms(instances.crash_loop.window),
                same_signature: instances.crash_loop.same_signature,
                slow_retry_ms: instances.crash_loop.slow_retry.map(whole_ms),
            },
            breaker: thresholds(&self.breaker),
            health_policies: self.policies.health.names(),
            breaker_policy: self.policies.breaker.names(),
            capacity_policy: self.policies.capacity.plugin().map(Into::into),
            templates: self
                .templates
                .keys()
                .map(|name| name.as_str().into())
                .collect(),
            health_every_ms: whole_ms(health.interval),
            question_ms: whole_ms(health.policy_timeout),
            ping_every_ms: whole_ms(health.ping_interval),
            ping_timeout_ms: whole_ms(health.ping_timeout),
            term_ms: whole_ms(instances.stop.term),
            recycle_every_ms: whole_ms(instances.recycle_interval),
            max_recycling: self.policies.max_recycling,
            memory_recycle_share: instances.memory_recycle_share,
            unable_ms: whole_ms(health.unable_after),
            disk_degraded_share: health.disk_share,
            ..Settings::default()
        }
    }
}

fn thresholds(breaker: &BreakerConfig) -> BreakerThresholds {
    BreakerThresholds {
        consecutive_failures: breaker.consecutive_failures,
        window_ms: whole_ms(breaker.window),
        min_samples: breaker.min_samples,
        failure_share: breaker.failure_share,
        slow_share: breaker.slow_share,
        slow_ms: breaker.slow.map(whole_ms),
        open_first_ms: whole_ms(breaker.open),
        open_max_ms: whole_ms(breaker.open_max),
        successes: breaker.successes,
        permits: breaker.probes,
        probe_ms: whole_ms(breaker.probe_timeout),
        forget_after_ms: whole_ms(breaker.reset_after),
    }
}

/// The nearest level that says something.
fn switched(
    own: Option<Switchable<Duration>>,
    kind: Option<Switchable<Duration>>,
    all: Option<Duration>,
) -> Option<Duration> {
    own.or(kind).map_or(all, |switchable| switchable.0)
}

/// Every text that may hold placeholders.
fn texts<'t>(
    instance: &'t InstanceConfig,
    template: &'t Template,
) -> impl Iterator<Item = &'t str> {
    std::iter::once(template.command.as_str())
        .chain(template.args.iter().map(String::as_str))
        .chain(template.cwd.as_deref())
        .chain(env_of(instance, template).map(|(_, text)| text.expose()))
}

/// The template's environment with the instance's over it.
fn env_of<'t>(
    instance: &'t InstanceConfig,
    template: &'t Template,
) -> impl Iterator<Item = (&'t String, &'t Secret)> {
    let of_template = template.env.iter();
    of_template
        .filter(|(name, _)| !instance.env.contains_key(*name))
        .chain(&instance.env)
}

/// What a placeholder of an instance stands for.
fn value_of<'i>(
    instance: &'i InstanceConfig,
    socket_text: &'i str,
) -> impl Fn(&str) -> Option<&'i str> {
    move |name| match name {
        "id" => Some(instance.id.as_str()),
        "socket_path" => Some(socket_text),
        other => instance.vars.get(other).map(String::as_str),
    }
}

/// FNV-1a over everything that a running process depends on, each part with its length before it. It is kept by shims over
/// upgrades of the router, so neither the function nor the order of the parts may change without need.
fn digest(plan: &LaunchPlan) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |bytes: &[u8]| {
        let length = (bytes.len() as u64).to_le_bytes();
        for byte in length.iter().chain(bytes) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let mut list = |parts: &[&str]| {
        take(&(parts.len() as u64).to_le_bytes());
        parts.iter().for_each(|part| take(part.as_bytes()));
    };
    let env: Vec<&str> = plan
        .env
        .iter()
        .flat_map(|(name, value)| [name.as_str(), value.expose()])
        .collect();
    let cwd = plan.cwd.as_ref().map(|cwd| cwd.display().to_string());
    let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    list(&[&plan.command]);
    list(&plan.args.iter().map(String::as_str).collect::<Vec<_>>());
    list(&env);
    list(&plan.pass_env.iter().map(String::as_str).collect::<Vec<_>>());
    list(cwd.as_deref().as_slice());
    list(&[
        plan.transport.as_str(),
        plan.sharing.as_str(),
        plan.on_router_exit.as_str(),
    ]);
    list(&[&number(plan.max_open_files), &number(plan.max_memory_bytes)]);
    hash
}

#[cfg(test)]
mod tests;
