//! The plugin engine as the other rooms use it.
use crate::{desk::Desk, driver::Judgement};
use router_config::Config;
use router_core::{event::NoAnswer, health::HealthFacts};
use router_engine::{Engine, EngineEvent, EngineOptions};
use router_store::Store;
use router_supervisor::DataDir;
use router_telemetry::PluginFigures;
use std::{sync::Arc, time::Duration};
pub(crate) fn options(_: &Config, _: &Store, _: &DataDir) -> EngineOptions {
    EngineOptions
}
pub(crate) fn judge(_: Engine, _: Arc<str>, _: Box<HealthFacts>, _: Duration) -> Judgement {
    Box::pin(async { Err(NoAnswer::Absent) })
}
pub(crate) fn note(_: &Desk, _: &EngineEvent) {}
pub(crate) fn quarantined(_: &Engine) -> u32 {
    0
}
pub(crate) fn figures(_: &Engine) -> Vec<PluginFigures> {
    Vec::new()
}
pub(crate) async fn reconfigure(_: &Engine, _: &Config) {}
