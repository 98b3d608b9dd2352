//! A straight line through the peaks of days, and when it reaches what there is.

use router_plugin_sdk::capacity_policy::{Day, Forecast, Measure, Usage};

const DAY_MS: f64 = 86_400_000.0;

/// A trend that takes longer than that says nothing.
const FORECAST_DAYS_MAX: f64 = 1_825.0;

/// See the module.
pub(crate) struct Trend {
    /// Where it is now.
    now: f64,
    /// How much it grows in a day.
    per_day: f64,
}

impl Trend {
    /// The line by least squares through these days, of which there is one at least.
    pub(crate) fn of(now_ms: u64, days: &[Day], value: impl Fn(&Usage) -> f64) -> Self {
        let points = || {
            days.iter().map(|day| {
                let at = (day.at_ms as f64 - now_ms as f64) / DAY_MS;
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
        Self {
            now: mean - per_day * mean_at,
            per_day,
        }
    }

    /// When the share of what there is will be reached, if that is in sight.
    pub(crate) fn forecast(
        &self,
        now_ms: u64,
        of: Measure,
        there_is: f64,
        share: f64,
    ) -> Option<Forecast> {
        let missing = there_is * share - self.now;
        let days = if missing <= 0.0 {
            0.0
        } else {
            missing / self.per_day
        };
        // Also where nothing grows: the time is then infinite, or before now.
        if there_is <= 0.0 || !(0.0..=FORECAST_DAYS_MAX).contains(&days) {
            return None;
        }
        let (what, unit) = match of {
            Measure::MemoryBytes => ("MiB memory of instances", 1024.0 * 1024.0),
            Measure::InFlight => ("requests in flight", 1.0),
            _ => ("running instances", 1.0),
        };
        let when = if days > 0.0 {
            format!(
                "in {days:.0} days, at {:.1} more each day",
                self.per_day / unit
            )
        } else {
            "already".to_owned()
        };
        let at_ms = now_ms.saturating_add((days * DAY_MS) as u64);
        let percent = share * 100.0;
        let summary = format!("{percent:.0} % of {:.0} {what}: {when}", there_is / unit);
        let mut forecast = Forecast::new(of, at_ms, summary);
        forecast.attributes = vec![("share".to_owned(), share.to_string())];
        Some(forecast)
    }
}
