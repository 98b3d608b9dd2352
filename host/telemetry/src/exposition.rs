//! Families in the Prometheus text format (0.0.4), built when somebody scrapes.
//!
//! The encoder of the `prometheus` crate writes and escapes; this file only makes sure that a family has at least one series
//! and that no label value holds a space, which the runbook's `awk '{print $2}'` would take for the value.

use prometheus::{
    Encoder, TextEncoder,
    proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType},
};

/// One family under construction.
pub(crate) struct Family {
    inner: MetricFamily,
    kind: MetricType,
}

impl Family {
    pub(crate) fn counter(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    pub(crate) fn gauge(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    fn new(name: &str, help: &str, kind: MetricType) -> Self {
        let mut inner = MetricFamily::default();
        inner.set_name(name.to_owned());
        inner.set_help(help.to_owned());
        inner.set_field_type(kind);
        Self { inner, kind }
    }

    /// Adds a series.
    pub(crate) fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        let mut metric = Metric::from_label(
            labels
                .iter()
                .map(|(name, value)| label(name, value))
                .collect(),
        );
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.inner.mut_metric().push(metric);
    }

    /// A family of one series without labels.
    pub(crate) fn single(mut self, value: f64) -> Self {
        self.add(&[], value);
        self
    }

    /// The finished family; `None` without series, since such a one is not valid.
    pub(crate) fn finish(self) -> Option<MetricFamily> {
        (!self.inner.get_metric().is_empty()).then_some(self.inner)
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(label_value(value));
    pair
}

/// The value with whatever could break a line or a column replaced by `_`.
fn label_value(value: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    value
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect()
}

/// The families as text.
pub(crate) fn encode(families: &[MetricFamily]) -> String {
    let mut text = Vec::with_capacity(16 * 1024);
    TextEncoder::new()
        .encode(families, &mut text)
        .expect("every family has a name and a series, and a Vec takes every write");
    String::from_utf8(text).expect("names, labels and numbers are UTF-8")
}
