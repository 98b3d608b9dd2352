//! The built-in default: answers where no capacity policy is configured, and where the one that is does not answer.
//!
//! It is the runbook's formula, and sets no limit: only who was asked to may refuse a start.

use super::{CapacityLoad, CapacityPlan, Forecast, LoadDay, LoadMinute, Measure, Usage};

/// The peak is so many times the average; the runbook's 2 to 3, on the safe side.
const PEAK_MULTIPLIER: f64 = 3.0;
/// Headroom above the peak.
const BUFFER: f64 = 0.2;
/// Running instances that one server carries.
const PER_SERVER: f64 = 100.0;
/// The average is taken over a whole week: working days and the others differ.
const AVERAGE_DAYS: usize = 7;
/// The trend is taken over the last month, …
const TREND_DAYS: usize = 30;
/// … and a week is the least that says anything.
const TREND_DAYS_MIN: usize = 7;
/// Share of what there is that a forecast is about: past it there is hardly time to buy a server.
const FORECAST_SHARE: f64 = 0.8;
/// A trend that takes longer than that says nothing.
const FORECAST_DAYS_MAX: f64 = 1_825.0;

const DAY_MS: f64 = 86_400_000.0;
const MINUTE_MS: u64 = 60_000;

/// See the module.
#[must_use]
pub fn builtin(load: &CapacityLoad) -> CapacityPlan {
    let (average, over) = average(load);
    let peak = average * PEAK_MULTIPLIER;
    let required = up(peak * (1.0 + BUFFER));
    let servers = up(required / PER_SERVER).max(1.0);
    let reason = format!(
        "{average:.1} running instances on average {over}, x {PEAK_MULTIPLIER} at the peak = {peak:.1}, + {:.0} % = {required}; at {PER_SERVER} for each server: {servers}",
        BUFFER * 100.0
    );
    let mut forecasts = Vec::new();
    let running = |usage: &Usage| f64::from(usage.running);
    let trend = |value: &dyn Fn(&Usage) -> f64| trend(load, value);
    forecasts.extend(forecast(
        load,
        Measure::Running,
        trend(&running),
        PER_SERVER,
    ));
    let memory = |usage: &Usage| usage.memory_bytes as f64;
    let total = load.memory_total_bytes as f64;
    forecasts.extend(forecast(load, Measure::MemoryBytes, trend(&memory), total));
    forecasts.sort_by_key(|forecast| forecast.at_ms);
    let figure = |name: &str, value: f64| (name.to_owned(), format!("{value}"));
    CapacityPlan {
        required: required as u32,
        reason,
        limits: Vec::new(),
        forecasts,
        attributes: vec![
            figure("average", (average * 10.0).round() / 10.0),
            figure("per-server", PER_SERVER),
            figure("servers", servers),
        ],
    }
}

/// The next whole number, but for what the arithmetic of fractions adds.
fn up(number: f64) -> f64 {
    // Adding 0 makes one zero of two.
    (number - 1e-6).ceil().max(0.0) + 0.0
}

/// Running instances on average, and over what: the last days, where there are none yet the minutes, else now.
fn average(load: &CapacityLoad) -> (f64, String) {
    let days = last_days(load, AVERAGE_DAYS);
    let mean = |sum: f64, count: usize| sum / count as f64;
    if !days.is_empty() {
        let sum = days.iter().map(|day| f64::from(day.mean.running)).sum();
        return (mean(sum, days.len()), over(days.len(), "day"));
    }
    let is_over = |minute: &&LoadMinute| minute.at_ms.saturating_add(MINUTE_MS) <= load.now_ms;
    let minutes = load.history.minutes.iter().filter(is_over);
    let peaks = minutes.map(|minute| f64::from(minute.peak.running));
    match peaks.clone().count() {
        0 => (f64::from(load.usage.running), "now".to_owned()),
        count => (mean(peaks.sum(), count), over(count, "minute")),
    }
}

fn over(count: usize, unit: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("over {count} {unit}{plural}")
}

/// The last days that are over: the peak of today may be still to come.
fn last_days(load: &CapacityLoad, count: usize) -> &[LoadDay] {
    let days = &load.history.days;
    let is_over = |day: &LoadDay| day.at_ms.saturating_add(DAY_MS as u64) <= load.now_ms;
    let over = days.iter().rposition(is_over).map_or(0, |last| last + 1);
    &days[over.saturating_sub(count)..over]
}

/// A straight line through the peaks of days.
struct Trend {
    /// Where it is now.
    now: f64,
    /// How much it grows in a day.
    per_day: f64,
}

/// The line by least squares through the last days. `None`: there are too few.
fn trend(load: &CapacityLoad, value: &dyn Fn(&Usage) -> f64) -> Option<Trend> {
    let days = last_days(load, TREND_DAYS);
    if days.len() < TREND_DAYS_MIN {
        return None;
    }
    let points = || {
        days.iter().map(|day| {
            let at = (day.at_ms as f64 - load.now_ms as f64) / DAY_MS;
            (at, value(&day.peak))
        })
    };
    let count = days.len() as f64;
    let mean_at = points().map(|(at, _)| at).sum::<f64>() / count;
    let mean = points().map(|(_, value)| value).sum::<f64>() / count;
    let spread: f64 = points().map(|(at, _)| (at - mean_at).powi(2)).sum();
    let slope: f64 = points()
        .map(|(at, value)| (at - mean_at) * (value - mean))
        .sum();
    let per_day = if spread > 0.0 { slope / spread } else { 0.0 };
    Some(Trend {
        now: mean - per_day * mean_at,
        per_day,
    })
}

/// When the share of what there is will be reached, if that is in sight.
fn forecast(
    load: &CapacityLoad,
    of: Measure,
    trend: Option<Trend>,
    there_is: f64,
) -> Option<Forecast> {
    let trend = trend.filter(|_| there_is > 0.0)?;
    let missing = there_is * FORECAST_SHARE - trend.now;
    let days = if missing <= 0.0 {
        0.0
    } else {
        missing / trend.per_day
    };
    // Also where nothing grows: the time is then infinite, or before now.
    if !(0.0..=FORECAST_DAYS_MAX).contains(&days) {
        return None;
    }
    let (what, unit) = match of {
        Measure::MemoryBytes => ("MiB memory of instances", 1024.0 * 1024.0),
        _ => ("running instances", 1.0),
    };
    let when = if days > 0.0 {
        format!(
            "in {days:.0} days, at {:.1} more each day",
            trend.per_day / unit
        )
    } else {
        "already".to_owned()
    };
    let share = FORECAST_SHARE * 100.0;
    Some(Forecast {
        of,
        at_ms: load.now_ms.saturating_add((days * DAY_MS) as u64),
        summary: format!("{share:.0} % of {:.0} {what}: {when}", there_is / unit),
        attributes: vec![("share".to_owned(), FORECAST_SHARE.to_string())],
    })
}

#[cfg(test)]
mod tests {
    use super::builtin;
    use crate::capacity::{CapacityLoad, LoadDay, LoadHistory, LoadMinute, Measure, Usage};

    const DAY_MS: u64 = 86_400_000;

    fn running(running: u32) -> Usage {
        Usage {
            running,
            ..Usage::default()
        }
    }

    /// A load with a day for each of these peaks, the last of them yesterday.
    fn load(peaks: &[u32]) -> CapacityLoad {
        let now_ms = 1_000 * DAY_MS;
        let first_ms = now_ms - peaks.len() as u64 * DAY_MS;
        let days = peaks.iter().zip(0..).map(|(peak, n)| LoadDay {
            at_ms: first_ms + n * DAY_MS,
            mean: running(peak / 2),
            peak: running(*peak),
        });
        let history = LoadHistory {
            days: days.collect(),
            ..LoadHistory::default()
        };
        CapacityLoad {
            now_ms,
            history: history.into(),
            memory_total_bytes: 1 << 34,
            ..CapacityLoad::default()
        }
    }

    #[test]
    fn the_example_of_the_runbook() {
        let now = CapacityLoad {
            usage: running(100),
            ..CapacityLoad::default()
        };
        let plan = builtin(&now);
        assert_eq!(plan.required, 360);
        assert_eq!(
            plan.reason,
            "100.0 running instances on average now, x 3 at the peak = 300.0, + 20 % = 360; at 100 for each server: 4"
        );
        let figure = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            plan.attributes,
            [
                figure("average", "100"),
                figure("per-server", "100"),
                figure("servers", "4")
            ]
        );
        assert_eq!((plan.limits, plan.forecasts), (vec![], vec![]));
    }

    #[test]
    fn the_average_is_that_of_the_days_then_of_the_minutes() {
        // The last seven days: half of 10.
        let plan = builtin(&load(&[1000, 10, 10, 10, 10, 10, 10, 10]));
        assert_eq!(plan.required, 18);
        assert!(
            plan.reason
                .starts_with("5.0 running instances on average over 7 days")
        );
        let minute = |peak| LoadMinute {
            at_ms: 0,
            peak: running(peak),
        };
        let history = LoadHistory {
            minutes: vec![minute(1), minute(2)],
            ..LoadHistory::default()
        };
        let plan = builtin(&CapacityLoad {
            now_ms: 60_000,
            history: history.into(),
            ..CapacityLoad::default()
        });
        assert_eq!(plan.required, 6);
        assert!(
            plan.reason
                .starts_with("1.5 running instances on average over 2 minutes")
        );
    }

    #[test]
    fn growth_reaches_eighty_percent_when_the_line_does() {
        // 21 today, one more each day: 80 in 59 days.
        let peaks: Vec<u32> = (1..=20).collect();
        let load = load(&peaks);
        let plan = builtin(&load);
        let [forecast] = &plan.forecasts[..] else {
            panic!("{plan:?}")
        };
        assert_eq!(forecast.of, Measure::Running);
        let days = (forecast.at_ms - load.now_ms + DAY_MS / 2) / DAY_MS;
        assert_eq!(days, 59);
        assert_eq!(
            forecast.summary,
            "80 % of 100 running instances: in 59 days, at 1.0 more each day"
        );
    }

    #[test]
    fn no_forecast_from_too_little_history_nor_without_growth() {
        let none = |peaks: &[u32]| {
            let plan = builtin(&load(peaks));
            assert_eq!(plan.forecasts, [], "{peaks:?}");
        };
        none(&[1, 2, 3, 4, 5, 6]);
        none(&[5; 20]);
        none(&[9, 8, 7, 6, 5, 4, 3, 2, 1]);
        let full = builtin(&load(&[90; 7]));
        assert_eq!(full.forecasts.len(), 1);
        assert!(full.forecasts[0].summary.ends_with(": already"), "{full:?}");
    }

    #[test]
    fn no_load_is_a_plan_too_and_absurd_ones_do_not_overflow() {
        let plan = builtin(&CapacityLoad::default());
        assert_eq!(plan.required, 0);
        let much = Usage {
            running: u32::MAX,
            in_flight: u32::MAX,
            memory_bytes: u64::MAX,
        };
        let day = |at_ms| LoadDay {
            at_ms,
            mean: much,
            peak: much,
        };
        let history = LoadHistory {
            days: vec![
                day(0),
                day(0),
                day(u64::MAX),
                day(1),
                day(7),
                day(8),
                day(8),
            ],
            ..LoadHistory::default()
        };
        let plan = builtin(&CapacityLoad {
            usage: much,
            history: history.into(),
            ..CapacityLoad::default()
        });
        assert_eq!(plan.required, u32::MAX);
    }
}
