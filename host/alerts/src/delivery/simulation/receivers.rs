//! What stands behind the sinks in the simulation.

use router_core::jitter::Jitter;

use crate::{
    delivery::Attempt,
    notice::{DeliveryError, Receipt},
};

/// How a receiver behaves for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Works,
    Slow,
    Fails,
    Hangs,
    Throttles(u64),
    Refuses,
    Gone,
}

/// What becomes of one attempt: whether and when it arrives, and what is answered when.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) arrives_ms: Option<u64>,
    /// `None`: nobody ever hears how it ended.
    pub(super) answer: Option<(u64, Result<Option<Receipt>, DeliveryError>)>,
}

impl Mood {
    pub(super) fn draw(dice: &mut Jitter) -> Self {
        match dice.next() % 12 {
            0..=4 => Self::Works,
            5 => Self::Slow,
            6..=7 => Self::Fails,
            8 => Self::Hangs,
            9 => Self::Throttles([0, 2_000, 60_000, 3_600_000][dice.next() as usize % 4]),
            10 => Self::Refuses,
            _ => Self::Gone,
        }
    }

    pub(super) fn fate(self, attempt: &Attempt, dice: &mut Jitter) -> Fate {
        let way_ms = dice.next() % 100;
        let back_ms = way_ms + dice.next() % 100;
        let number = dice.next() % 1_000;
        let receipt = dice.next().is_multiple_of(2);
        let receipt =
            receipt.then(|| Receipt::new(format!("receipt-{number}")).expect("it is short"));
        let taken = Fate {
            arrives_ms: Some(way_ms),
            answer: Some((back_ms, Ok(receipt))),
        };
        let failed = |error, arrives: bool| Fate {
            arrives_ms: arrives.then_some(way_ms),
            answer: Some((back_ms, Err(error))),
        };
        let again = |after_ms| DeliveryError::Retry {
            reason: "later".to_owned(),
            after_ms,
        };
        match self {
            Self::Slow => Fate {
                answer: taken
                    .answer
                    .map(|(back_ms, answer)| (back_ms + 20_000, answer)),
                ..taken
            },
            Self::Fails if number.is_multiple_of(3) => failed(
                DeliveryError::Other("reset".to_owned()),
                number.is_multiple_of(2),
            ),
            Self::Fails => failed(again(None), false),
            Self::Hangs => Fate {
                arrives_ms: number.is_multiple_of(2).then_some(way_ms),
                answer: (!number.is_multiple_of(5)).then(|| {
                    (
                        30_000,
                        Err(DeliveryError::Other("no answer in 30 s".to_owned())),
                    )
                }),
            },
            Self::Throttles(after_ms) => failed(again(Some(after_ms)), false),
            Self::Refuses if is_refused(attempt) => {
                failed(DeliveryError::Refused("no such field".to_owned()), false)
            }
            Self::Works | Self::Refuses => taken,
            Self::Gone => failed(DeliveryError::Gone("no such channel".to_owned()), false),
        }
    }
}

/// Every third, and always the same.
fn is_refused(attempt: &Attempt) -> bool {
    let id = attempt.delivery.id.as_str().bytes();
    id.map(u32::from).sum::<u32>().is_multiple_of(3)
}
