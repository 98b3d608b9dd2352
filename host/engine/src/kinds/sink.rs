//! Alert sinks: a notice in, what came of it out. A sink waits for its receiver in `egress`; that, and that it is to be tried again,
//! are held against nobody.

mod crossing;
mod egress;

use std::time::Duration;

use router_alerts::notice::{DeliveryError, Notice, Receipt};
use serde_json::{Map, Value, json};
use wasmtime::{
    Store,
    component::{HasSelf, Linker},
};

use super::{Budget, Contract, Kind, Priority, Unit, kind_contract};
use crate::{
    bindings::types::Setting,
    guest::{ExchangeEnd, GuestState, Sending},
    texts::attributes_bytes,
};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        interfaces: "import router:alerts/egress@0.2.0; export router:alerts/sink@0.2.0;",
        imports: { "router:alerts/egress@0.2.0.send": async | trappable, default: trappable },
        exports: { default: async },
        with: {
            "router:common/types@0.2.0": crate::bindings::router::common::types,
            "router:alerts/types@0.2.0": crate::kinds::rule::types,
        },
    });
}

use bindings::{exports::router::alerts::sink as wit, router::alerts::egress as wit_egress};

/// How long the requests of one delivery may take together: most receivers give up after 15 to 30 s themselves.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What a sink says of a delivery.
pub type Delivered = Result<Option<Receipt>, DeliveryError>;

/// What came of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkAnswer {
    /// What the sink says.
    pub delivered: Delivered,
    /// How its last request ended, where it sent one.
    pub last_exchange: Option<ExchangeEnd>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct SinkKind;

impl Kind for SinkKind {
    kind_contract!(
        wit,
        Contract {
            world: "alert-sink",
            question: "router:alerts/sink@0.2.0",
            imports: &["router:alerts/egress@0.2.0", "router:alerts/types@0.2.0"],
            unit: Unit::Sink,
            budget: Budget {
                // Deliveries about different alerts, past one that waits.
                calls_max: 4,
                // After its requests ran out of time a sink has to say so.
                wall: |running| WAIT_MAX + running * 10,
                priority: Priority::Normal,
                ..Budget::POLICY
            },
        }
    );

    type Question = Notice;
    type Answer = SinkAnswer;

    fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
        wit_egress::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
    }

    async fn call(
        exports: &wit::Guest,
        store: &mut Store<GuestState>,
        notice: &Notice,
        settings: &[Setting],
    ) -> wasmtime::Result<SinkAnswer> {
        if let Some(sending) = &mut store.data_mut().sending {
            sending.begin(Duration::from_millis(notice.deadline_ms).min(WAIT_MAX));
        }
        let delivery = crossing::to_wit(notice);
        let delivered = exports
            .call_deliver(&mut *store, &delivery, settings)
            .await?;
        let sending = store.data().sending.as_ref();
        Ok(SinkAnswer {
            delivered: crossing::from_wit(delivered),
            last_exchange: sending.and_then(Sending::last),
        })
    }

    fn show(notice: &Notice, answer: Option<&SinkAnswer>) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut field = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        field("delivery", notice.id.as_str().into());
        field("occasion", notice.occasion.as_str().into());
        field("groupKey", notice.group_key.as_str().into());
        field(
            "alerts",
            json!(notice.alerts.len() as u64 + u64::from(notice.more)),
        );
        field("attempt", notice.attempt.into());
        match answer.map(|answer| &answer.delivered) {
            // A receipt is nobody's to read but the sink's.
            Some(Ok(_)) => drop(field("delivered", true.into())),
            Some(Err(error)) => {
                field("delivered", false.into());
                field("reason", error.to_string().into());
            }
            None => {}
        }
        fields
    }

    fn bytes(notice: &Notice, answer: Option<&SinkAnswer>) -> usize {
        let alerts = notice.alerts.iter().map(|alert| {
            // What is wrong is shared with the alert itself.
            size_of_val(alert) + attributes_bytes(&alert.attributes)
        });
        let links = notice
            .links
            .iter()
            .map(|link| size_of_val(link) + link.url.len());
        let answer = match answer.map(|answer| &answer.delivered) {
            Some(Ok(receipt)) => receipt.as_ref().map_or(0, |receipt| receipt.as_str().len()),
            Some(Err(error)) => error.to_string().len(),
            None => 0,
        };
        notice.id.len()
            + notice.group_key.len()
            + alerts.sum::<usize>()
            + links.sum::<usize>()
            + notice.changes.iter().map(String::len).sum::<usize>()
            + notice
                .receipt
                .as_ref()
                .map_or(0, |receipt| receipt.as_str().len())
            + attributes_bytes(&notice.attributes)
            + answer
    }
}
