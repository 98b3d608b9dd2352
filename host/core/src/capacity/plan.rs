//! What a capacity policy may answer, and what is no plan.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::load::TemplateLoad;

/// Most limits and forecasts of a plan: each start is compared with every limit.
pub const LIMITS_MAX: usize = 256;
/// See [`LIMITS_MAX`].
pub const FORECASTS_MAX: usize = 64;

/// More instances than this no router was ever meant for: such a number is a slip of a policy.
const INSTANCES_MAX: u64 = 1_000_000;
/// So are as many requests in flight, …
const IN_FLIGHT_MAX: u64 = 1_000_000_000;
/// … a pebibyte of memory, …
const MEMORY_BYTES_MAX: u64 = 1 << 50;
/// … and a forecast past the year 3000.
const AT_MS_MAX: u64 = 32_503_680_000_000;

/// What a capacity policy (or the built-in default) answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CapacityPlan {
    /// Running instances that there should be room for.
    pub required: u32,
    /// How that was computed, for people.
    pub reason: String,
    /// What may be used. What has no limit here has none.
    pub limits: Vec<Limit>,
    /// Which limits will be reached, the soonest first.
    pub forecasts: Vec<Forecast>,
    /// Further figures, shown beside the plan.
    pub attributes: Vec<(String, String)>,
}

/// What a limit bounds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Instances that run at once.
    Running,
    /// Memory in use by instances, in bytes.
    MemoryBytes,
    /// Requests in flight.
    InFlight,
    /// Instances of the template of this name that run at once.
    RunningOfTemplate(Arc<str>),
    /// Something that this version does not know; such a limit is shown and not applied.
    Other(Arc<str>),
}

/// How much may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Of what.
    pub of: Measure,
    /// How much at most.
    pub most: u64,
    /// What would help, as the client that is refused reads it.
    pub refusal: String,
    /// Further facts about the limit.
    pub attributes: Vec<(String, String)>,
}

/// When a limit is reached if all goes on as it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// Which one.
    pub of: Measure,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The same for people.
    pub summary: String,
    /// Further facts about the forecast.
    pub attributes: Vec<(String, String)>,
}

impl Measure {
    /// The kind of measure, as JSON and metrics name it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Running => "running",
            Self::MemoryBytes => "memory_bytes",
            Self::InFlight => "in_flight",
            Self::RunningOfTemplate(_) => "running_of_template",
            Self::Other(name) => name,
        }
    }

    /// The template that it is about.
    #[must_use]
    pub fn template(&self) -> Option<&str> {
        match self {
            Self::RunningOfTemplate(name) => Some(name),
            _ => None,
        }
    }

    fn most_max(&self) -> u64 {
        match self {
            Self::Running | Self::RunningOfTemplate(_) => INSTANCES_MAX,
            Self::InFlight => IN_FLIGHT_MAX,
            Self::MemoryBytes => MEMORY_BYTES_MAX,
            Self::Other(_) => u64::MAX,
        }
    }

    /// What is wrong with it, where the templates there are are these.
    fn fault(&self, templates: &[TemplateLoad]) -> Option<String> {
        match self {
            Self::RunningOfTemplate(name)
                if !templates.iter().any(|template| template.name == *name) =>
            {
                Some(format!("there is no template {name:?}"))
            }
            Self::Other(name) if name.is_empty() => Some("its measure has no name".to_owned()),
            _ => None,
        }
    }
}

/// For people.
impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running instances"),
            Self::MemoryBytes => f.write_str("memory of instances"),
            Self::InFlight => f.write_str("requests in flight"),
            Self::RunningOfTemplate(name) => write!(f, "running instances of template {name}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl CapacityPlan {
    /// What is wrong with the plan, where the templates there are are these. Such a plan is not applied at all: a policy that is
    /// mistaken in one number may be so in others.
    ///
    /// # Errors
    /// The first fault, with the row that it is in.
    pub fn check(&self, templates: &[TemplateLoad]) -> Result<(), String> {
        if u64::from(self.required) > INSTANCES_MAX {
            let required = self.required;
            return Err(format!(
                "required is {required}; expected at most {INSTANCES_MAX}"
            ));
        }
        if self.limits.len() > LIMITS_MAX {
            return Err(format!("it has more than {LIMITS_MAX} limits"));
        }
        if self.forecasts.len() > FORECASTS_MAX {
            return Err(format!("it has more than {FORECASTS_MAX} forecasts"));
        }
        let mut seen = BTreeSet::new();
        for (at, limit) in self.limits.iter().enumerate() {
            let (of, most_max) = (&limit.of, limit.of.most_max());
            let fault = match limit.most {
                _ if !seen.insert(of) => Some("there is one of the same before".to_owned()),
                0 => Some("0 would let nothing start; expected at least 1".to_owned()),
                most if most > most_max => Some(format!("{most}; expected at most {most_max}")),
                _ => of.fault(templates),
            };
            if let Some(fault) = fault {
                return Err(format!("limits[{at}] ({of}): {fault}"));
            }
        }
        for (at, forecast) in self.forecasts.iter().enumerate() {
            let (of, at_ms) = (&forecast.of, forecast.at_ms);
            let fault = if at_ms > AT_MS_MAX {
                Some(format!("at-ms is {at_ms}; expected at most {AT_MS_MAX}"))
            } else {
                of.fault(templates)
            };
            if let Some(fault) = fault {
                return Err(format!("forecasts[{at}] ({of}): {fault}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{CapacityPlan, Forecast, Limit, Measure, TemplateLoad};

    fn limit(of: Measure, most: u64) -> Limit {
        Limit {
            of,
            most,
            refusal: String::new(),
            attributes: Vec::new(),
        }
    }

    fn forecast(of: Measure, at_ms: u64) -> Forecast {
        Forecast {
            of,
            at_ms,
            summary: String::new(),
            attributes: Vec::new(),
        }
    }

    fn check(plan: &CapacityPlan) -> Result<(), String> {
        let godot = TemplateLoad {
            name: "godot".into(),
            instances: 0,
            running: 0,
        };
        plan.check(&[godot])
    }

    #[test]
    fn a_plan_out_of_range_is_refused_and_the_reason_names_the_row() {
        let of_template = |name: &str| Measure::RunningOfTemplate(name.into());
        let good = CapacityPlan {
            required: 1_000_000,
            limits: vec![
                limit(Measure::Running, 1),
                limit(Measure::MemoryBytes, 1 << 50),
                limit(of_template("godot"), 3),
                limit(Measure::Other("gpus".into()), u64::MAX),
            ],
            forecasts: vec![forecast(Measure::Running, 0)],
            ..CapacityPlan::default()
        };
        assert_eq!(check(&good), Ok(()));
        let limits = |limits: Vec<Limit>| CapacityPlan {
            limits,
            ..CapacityPlan::default()
        };
        let forecasts = |forecasts: Vec<Forecast>| CapacityPlan {
            forecasts,
            ..CapacityPlan::default()
        };
        let refused = [
            (
                CapacityPlan {
                    required: u32::MAX,
                    ..CapacityPlan::default()
                },
                "required is 4294967295; expected at most 1000000",
            ),
            (
                limits(vec![limit(Measure::InFlight, 1); 257]),
                "it has more than 256 limits",
            ),
            (
                forecasts(vec![forecast(Measure::InFlight, 1); 65]),
                "it has more than 64 forecasts",
            ),
            (
                limits(vec![
                    limit(Measure::InFlight, 1),
                    limit(Measure::Running, 0),
                ]),
                "limits[1] (running instances): 0 would let nothing start; expected at least 1",
            ),
            (
                limits(vec![limit(Measure::MemoryBytes, u64::MAX)]),
                "limits[0] (memory of instances): 18446744073709551615; expected at most 1125899906842624",
            ),
            (
                limits(vec![limit(Measure::Running, 1), limit(Measure::Running, 2)]),
                "limits[1] (running instances): there is one of the same before",
            ),
            (
                limits(vec![limit(of_template("node"), 2)]),
                "limits[0] (running instances of template node): there is no template \"node\"",
            ),
            (
                limits(vec![limit(Measure::Other("".into()), 2)]),
                "limits[0] (): its measure has no name",
            ),
            (
                forecasts(vec![forecast(Measure::Running, u64::MAX)]),
                "forecasts[0] (running instances): at-ms is 18446744073709551615; expected at most 32503680000000",
            ),
            (
                forecasts(vec![forecast(of_template("node"), 5)]),
                "forecasts[0] (running instances of template node): there is no template \"node\"",
            ),
        ];
        for (plan, why) in refused {
            assert_eq!(check(&plan), Err(why.to_owned()));
        }
    }
}
