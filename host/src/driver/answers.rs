//! Carrying out what is requested of the driver.

use std::{sync::Arc, time::Duration};

use router_core::{
    InstanceId,
    action::CommandError,
    capacity::Usage,
    event::{Command, FleetEvent, Verb},
    spec::{InstanceSpec, Source},
    view::FleetView,
};
use tokio::sync::oneshot;

use super::{
    request::{CommandResult, DriverRequest},
    state::Driver,
};

/// Commands that may wait at once; past it a command is refused as the core refuses too many for one instance.
const COMMANDS_MAX: usize = 1024;

/// The kill of what does not end by itself, and the way of all reports.
const KILL_WITHIN: Duration = Duration::from_secs(20);

impl Driver {
    pub(super) fn handle_request(&mut self, request: DriverRequest) {
        // The caller may have gone meanwhile: the request is carried out all the same.
        match request {
            DriverRequest::View(reply) => self.show(reply),
            DriverRequest::Instance { instance, reply } => {
                let now = self.parts.clock.now();
                let _ = reply.send(self.fleet.instance_view(&instance, now));
            }
            DriverRequest::Usage(reply) => {
                let _ = reply.send(self.usage());
            }
            DriverRequest::Command {
                instance,
                verb,
                reply,
            } => self.command(instance, verb, reply),
            DriverRequest::Apply {
                settings,
                file,
                registered,
                done,
            } => {
                self.step(FleetEvent::SettingsApplied(settings));
                self.apply(file, registered);
                let _ = done.send(());
            }
            DriverRequest::Restore { registered, done } => {
                let source = Source::Api;
                let specs = registered;
                self.step(FleetEvent::SpecsApplied { source, specs });
                self.apply_waits();
                let _ = done.send(());
            }
            DriverRequest::Holder { instance, reply } => {
                let source = self.fleet.spec(&instance).map(|spec| spec.source);
                let _ = reply.send((source, self.fleet.specs_count()));
            }
            DriverRequest::Add { spec, done } => {
                self.step(FleetEvent::SpecAdded(spec));
                let _ = done.send(());
            }
            DriverRequest::Remove { instance, done } => {
                self.step(FleetEvent::SpecRemoved(instance));
                let _ = done.send(());
            }
            DriverRequest::Shutdown(reply) => {
                let _ = reply.send(self.shutdown_within());
                self.step(FleetEvent::Shutdown);
            }
        }
    }

    /// Applies what two sources define. An id that goes from one to the other is given up before it is taken over.
    fn apply(&mut self, file: Vec<InstanceSpec>, registered: Vec<InstanceSpec>) {
        let is_held_by_file = |spec: &InstanceSpec| {
            let held = self.fleet.spec(&spec.id);
            held.is_some_and(|held| held.source == Source::Config)
        };
        let stay = registered.iter().filter(|spec| !is_held_by_file(spec));
        let stay = stay.cloned().collect();
        for (source, specs) in [
            (Source::Api, stay),
            (Source::Config, file),
            (Source::Api, registered),
        ] {
            self.step(FleetEvent::SpecsApplied { source, specs });
        }
        self.apply_waits();
    }

    /// How long a shutdown may take: the drain of the slowest instance, its time for SIGTERM, and the kill.
    fn shutdown_within(&self) -> Duration {
        let drain_ms = self.fleet.specs().map(|spec| spec.drain_ms).max();
        let term_ms = self.fleet.settings().term_ms;
        Duration::from_millis(drain_ms.unwrap_or(0).saturating_add(term_ms)) + KILL_WITHIN
    }

    /// Read every few seconds: it costs no more than the living runs, and waits for nobody.
    fn usage(&self) -> Usage {
        let mut usage = Usage {
            running: u32::try_from(self.fleet.running()).unwrap_or(u32::MAX),
            ..Usage::default()
        };
        for live in self.live.values() {
            let in_flight = live
                .upstream
                .as_ref()
                .map_or(0, |upstream| upstream.in_flight());
            let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
            usage.in_flight = usage.in_flight.saturating_add(in_flight);
            let memory_bytes = live.memory_bytes.unwrap_or(0);
            usage.memory_bytes = usage.memory_bytes.saturating_add(memory_bytes);
        }
        usage
    }

    /// One view answers all who wait for one at this moment.
    fn show(&mut self, first: oneshot::Sender<Arc<FleetView>>) {
        let view = Arc::new(self.fleet.view(self.parts.clock.now()));
        self.parts.ports.set_view(Arc::clone(&view));
        let _ = first.send(Arc::clone(&view));
        while let Ok(request) = self.parts.requests.try_recv() {
            match request {
                DriverRequest::View(reply) => {
                    let _ = reply.send(Arc::clone(&view));
                }
                // What changes something ends the row: views after it must show it.
                other => return self.handle_request(other),
            }
        }
    }

    fn command(&mut self, instance: InstanceId, verb: Verb, reply: oneshot::Sender<CommandResult>) {
        self.commands.retain(|_, reply| !reply.is_closed());
        if self.commands.len() >= COMMANDS_MAX {
            let _ = reply.send(Err(CommandError::Busy));
            return;
        }
        let id = self.next_command;
        self.next_command += 1;
        self.commands.insert(id, reply);
        self.step(Command { id, instance, verb });
    }
}
