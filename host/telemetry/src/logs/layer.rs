//! From an event of `tracing` to a line in the queues.

use std::sync::Arc;

use router_values::{Day, LogFormat, unix_ms};
use tracing::{
    Event, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{
    Clock, format,
    line::{Fields, Line},
    queue::{Queue, QueuedLine},
};

/// Formats each event once and gives it to every destination.
pub(super) struct LineLayer {
    format: LogFormat,
    clock: Clock,
    queues: Arc<[Arc<Queue>]>,
}

impl LineLayer {
    pub(super) fn new(format: LogFormat, clock: Clock, queues: Arc<[Arc<Queue>]>) -> Self {
        Self {
            format,
            clock,
            queues,
        }
    }
}

impl<S> Layer<S> for LineLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let fields = match context.event_scope(event) {
            None => own,
            Some(scope) => {
                let mut all = Fields::with_message(std::mem::take(&mut own.message));
                for span in scope.from_root() {
                    if let Some(outer) = span.extensions().get::<Fields>() {
                        all.extend(outer);
                    }
                }
                all.extend(&own);
                all
            }
        };
        let unix_ms = unix_ms((self.clock)());
        let line = Line {
            unix_ms,
            level: *event.metadata().level(),
            target: event.metadata().target(),
            fields: &fields,
        };
        let entry = QueuedLine {
            day: Day::of_unix_ms(unix_ms),
            text: format::render(&line, self.format).into(),
        };
        for queue in self.queues.iter() {
            queue.push(entry.clone());
        }
    }
}
