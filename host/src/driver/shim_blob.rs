//! What the router leaves with a slot's shim, so that the next router can go on where this one ends.

use router_upstream::Handshake;
use serde::{Deserialize, Serialize};

/// The layout of the blob. A router that meets another one starts the handshake over.
const LAYOUT: u32 = 1;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShimBlob {
    layout: u32,
    /// [`Handshake::to_blob`], which is JSON.
    handshake: Option<String>,
    /// When it became ready.
    pub(crate) ready_at_unix_ms: Option<u64>,
    /// The tools that later runs are compared with.
    pub(crate) baseline: Option<Vec<String>>,
    /// Whether the router meant it to run.
    pub(crate) wanted: bool,
}

impl ShimBlob {
    /// What is to be kept of a run that has just been started.
    pub(crate) fn started() -> Self {
        Self {
            layout: LAYOUT,
            wanted: true,
            ..Self::default()
        }
    }

    /// Notes the handshake and that the run became ready.
    pub(crate) fn handshaken(&mut self, handshake: &Handshake, at_unix_ms: u64) {
        self.handshake = String::from_utf8(handshake.to_blob()).ok();
        self.ready_at_unix_ms = Some(at_unix_ms);
    }

    /// Notes that the tool list was read anew.
    pub(crate) fn relisted(&mut self, tools: &[String]) {
        if let Some(handshake) = self.handshake() {
            let handshake = handshake.with_tools(tools.to_vec());
            self.handshake = String::from_utf8(handshake.to_blob()).ok();
        }
    }

    /// The handshake, where one was kept that can be used.
    pub(crate) fn handshake(&self) -> Option<Handshake> {
        Handshake::from_blob(self.handshake.as_ref()?.as_bytes()).ok()
    }

    /// As bytes for the shim.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and booleans are always serializable")
    }

    /// What an earlier router left; nothing where it cannot be read.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let kept: Self = serde_json::from_slice(bytes).ok()?;
        (kept.layout == LAYOUT).then_some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::ShimBlob;

    #[test]
    fn what_was_left_reads_back_and_anything_else_does_not() {
        let kept = ShimBlob {
            baseline: Some(vec!["a".into()]),
            ..ShimBlob::started()
        };
        assert_eq!(ShimBlob::from_bytes(&kept.to_bytes()), Some(kept));
        assert_eq!(ShimBlob::from_bytes(b"nonsense"), None);
        assert_eq!(ShimBlob::from_bytes(br#"{"layout":7,"wanted":true}"#), None);
    }
}
