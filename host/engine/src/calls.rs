//! One call of a plugin, from its store to the next one's.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::{
    deciding::kind_of,
    failure::CallFailure,
    generation::Called,
    kinds::{Kind, record},
    shared::{EngineShared, is_in_use},
};

impl EngineShared {
    /// Asks a plugin: the generation in force, or the candidate of that number. Sends the answer as soon as it is there, and returns
    /// when that was; ends without one where no such plugin serves, it is of another kind or in quarantine, or the asker is gone.
    /// Must run on the machine's runtime for that kind.
    pub(crate) async fn call<K: Kind>(
        &self,
        (plugin, candidate): (&str, Option<u64>),
        question: K::Question,
        reply: oneshot::Sender<Result<K::Answer, CallFailure>>,
    ) -> Option<Instant> {
        // What no policy names yet has not been tried, and answers nobody until it has.
        let is_policy = self.trials.is_some() && kind_of(K::CONTRACT.world).is_some();
        if is_policy && !is_in_use(self.policies.lock().as_ref(), plugin) {
            return None;
        }
        let calls = {
            let mut plugins = self.plugins.lock();
            let entry = plugins.get_mut(plugin)?;
            match candidate {
                Some(number) => entry.candidate_for_call(number, K::CONTRACT)?.1,
                None => {
                    if entry.calls.is_none() {
                        entry.count_unanswered();
                    }
                    entry.calls.clone()?
                }
            }
        };
        let _permit = calls.acquire().await.ok()?;
        if reply.is_closed() {
            return None;
        }
        let generation = {
            let mut plugins = self.plugins.lock();
            let entry = plugins.get_mut(plugin)?;
            match candidate {
                Some(number) => entry.candidate_for_call(number, K::CONTRACT)?.0,
                None => entry.generation_for_call(K::CONTRACT)?,
            }
        };
        let Called {
            answer,
            took,
            spent,
        } = generation.call::<K>(&question).await;
        let record = record::<K>(question, &answer);
        let event = {
            let mut plugins = self.plugins.lock();
            let entry = plugins.get_mut(plugin);
            entry.and_then(|entry| entry.ended(&generation, record, (answer.as_ref().err(), took)))
        };
        if let Some(event) = event {
            self.emit(event);
            self.publish_conditions();
        }
        // An answer that is not waited for any more counts like any other.
        let _ = reply.send(answer);
        let answered_at = Instant::now();
        // Clearing the store takes as long as the call did: the asker has its answer by now. But it is done before the next
        // call, so that there are never more stores than calls; and before the next store is made, which then gets warm memory.
        drop(spent);
        generation.refill().await;
        Some(answered_at)
    }
}
