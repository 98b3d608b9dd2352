//! What other rooms ask of the driver, and its answers.

use std::sync::Arc;

use router_core::{
    InstanceId,
    action::{CommandError, Done},
    event::{Command, Event, Verb},
    settings::Settings,
    spec::{InstanceSpec, Source},
    view::FleetView,
};

use tokio::sync::oneshot;

use super::Driver;

/// How a command ended.
pub(crate) type CommandResult = Result<Done, CommandError>;

/// Commands that may wait at once; past it a command is refused as the core refuses too many for one instance.
const COMMANDS_MAX: usize = 1024;

/// A question or an order. Each is answered, unless the driver ends first.
pub(crate) enum Ask {
    /// The fleet as it is.
    View(oneshot::Sender<Arc<FleetView>>),
    /// Do something to an instance.
    Command {
        instance: InstanceId,
        verb: Verb,
        reply: oneshot::Sender<CommandResult>,
    },
    /// The configuration is new: settings, and all instances of one source.
    Apply {
        settings: Box<Settings>,
        specs: Vec<InstanceSpec>,
        done: oneshot::Sender<()>,
    },
    /// All instances of a source, as they were kept.
    Restore {
        source: Source,
        specs: Vec<InstanceSpec>,
        done: oneshot::Sender<()>,
    },
    /// One instance more.
    Add {
        spec: Box<InstanceSpec>,
        done: oneshot::Sender<()>,
    },
    /// One instance less.
    Remove {
        instance: InstanceId,
        done: oneshot::Sender<()>,
    },
    /// The router is to end.
    Shutdown,
}

impl Driver {
    pub(super) fn answer(&mut self, ask: Ask) {
        // Those who asked may have gone meanwhile: their answers are then nobody's.
        match ask {
            Ask::View(reply) => self.show(reply),
            Ask::Command {
                instance,
                verb,
                reply,
            } => self.command(instance, verb, reply),
            Ask::Apply {
                settings,
                specs,
                done,
            } => {
                self.step(Event::SettingsApplied(settings));
                let source = Source::Config;
                self.step(Event::SpecsApplied { source, specs });
                self.tell_instances();
                let _ = done.send(());
            }
            Ask::Restore {
                source,
                specs,
                done,
            } => {
                self.step(Event::SpecsApplied { source, specs });
                self.tell_instances();
                let _ = done.send(());
            }
            Ask::Add { spec, done } => {
                self.step(Event::SpecAdded(spec));
                self.tell_instances();
                let _ = done.send(());
            }
            Ask::Remove { instance, done } => {
                self.step(Event::SpecRemoved(instance));
                let _ = done.send(());
            }
            Ask::Shutdown => self.step(Event::Shutdown),
        }
    }

    /// One view answers all who wait for one at this moment.
    fn show(&mut self, first: oneshot::Sender<Arc<FleetView>>) {
        let view = self.view();
        self.parts.rooms.take_in(Arc::clone(&view));
        let _ = first.send(Arc::clone(&view));
        while let Ok(ask) = self.parts.asks.try_recv() {
            match ask {
                Ask::View(reply) => {
                    let _ = reply.send(Arc::clone(&view));
                }
                // What changes something ends the row: views after it must show it.
                other => return self.answer(other),
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
        self.step(Event::Command(Command { id, instance, verb }));
    }
}
