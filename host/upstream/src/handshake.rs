//! What an instance said about itself when it was started, kept for every later session and for the next router.

use serde::{Deserialize, Serialize};

use crate::{
    envelope::{member, range_in, splice, string_of},
    protocol::ProtocolVersion,
};

/// The version of the blob's layout. A router that does not know it starts over with a fresh handshake.
const BLOB_VERSION: u32 = 1;

/// The answer to the one `initialize` that an instance is sent, and its tools at that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    version: ProtocolVersion,
    result: String,
    tools: Vec<String>,
}

/// Why a blob cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// It is not what [`Handshake::to_blob`] wrote.
    #[error("the kept handshake cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// Another router wrote it.
    #[error("the kept handshake has layout {found}, this router knows {BLOB_VERSION}")]
    Layout {
        /// The layout it names.
        found: u32,
    },
    /// It holds a handshake that would not have been accepted.
    #[error("the kept handshake is not acceptable: {0}")]
    Refused(String),
}

#[derive(Serialize, Deserialize)]
struct Blob {
    layout: u32,
    result: String,
    tools: Vec<String>,
}

impl Handshake {
    /// Reads the result of `initialize`. Its tools are none yet.
    ///
    /// # Errors
    /// As text: the result is not an object, or it speaks a version that is not served.
    pub(crate) fn from_result(result: &str) -> Result<Self, String> {
        let version = member(result, "protocolVersion")
            .map_err(|error| error.to_string())?
            .and_then(string_of)
            .ok_or("the result of initialize has no protocolVersion")?;
        let version = ProtocolVersion::parse(&version).ok_or_else(|| {
            format!("the instance speaks protocol version {version:?}, which is not served")
        })?;
        let mut line = Vec::with_capacity(result.len());
        splice(&mut line, result, &[]);
        let result =
            String::from_utf8(line).map_err(|_| "the result of initialize is not UTF-8")?;
        Ok(Self {
            version,
            result,
            tools: Vec::new(),
        })
    }

    /// The same handshake with the tools that were read after it.
    #[must_use]
    pub fn with_tools(mut self, tools: Vec<String>) -> Self {
        self.tools = tools;
        self
    }

    /// The version that the instance speaks.
    #[must_use]
    pub fn protocol_version(&self) -> ProtocolVersion {
        self.version
    }

    /// The tools' names, in the instance's order.
    #[must_use]
    pub fn tools(&self) -> &[String] {
        &self.tools
    }

    /// `capabilities` as raw JSON.
    #[must_use]
    pub fn capabilities(&self) -> Option<&str> {
        self.part("capabilities")
    }

    /// Whether the instance declared a capability (`tools`, `logging`, …).
    #[must_use]
    pub fn offers(&self, capability: &str) -> bool {
        let declared = self.capabilities().and_then(|all| part_of(all, capability));
        declared.is_some_and(|raw| raw != "null")
    }

    /// The result of `initialize` for a client that gets `version`: the instance's own, but for the version.
    #[must_use]
    pub fn answer(&self, version: ProtocolVersion) -> String {
        let Some(raw) = self.part("protocolVersion") else {
            return self.result.clone();
        };
        let quoted = format!("\"{version}\"");
        let mut answer = Vec::with_capacity(self.result.len() + 16);
        splice(
            &mut answer,
            &self.result,
            &[(range_in(&self.result, raw), quoted.as_bytes())],
        );
        String::from_utf8(answer).unwrap_or_else(|_| self.result.clone())
    }

    /// What a shim keeps for the next router.
    #[must_use]
    pub fn to_blob(&self) -> Vec<u8> {
        let blob = Blob {
            layout: BLOB_VERSION,
            result: self.result.clone(),
            tools: self.tools.clone(),
        };
        serde_json::to_vec(&blob).expect("strings and a number are always serializable")
    }

    /// What an earlier router kept.
    ///
    /// # Errors
    /// The blob is not one, or of another layout. The instance must then be started anew.
    pub fn from_blob(blob: &[u8]) -> Result<Self, BlobError> {
        let blob: Blob = serde_json::from_slice(blob).map_err(BlobError::Unreadable)?;
        if blob.layout != BLOB_VERSION {
            return Err(BlobError::Layout { found: blob.layout });
        }
        let handshake = Self::from_result(&blob.result).map_err(BlobError::Refused)?;
        Ok(handshake.with_tools(blob.tools))
    }

    fn part(&self, name: &str) -> Option<&str> {
        part_of(&self.result, name)
    }
}

// The result was parsed when the handshake was made, so that no error is left to report.
fn part_of<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    member(object, name).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::{BlobError, Handshake};
    use crate::ProtocolVersion;

    const RESULT: &str = r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"logging":{}},"serverInfo":{"name":"x","version":"1","big":12345678901234567890123},"instructions":"say \"hi\"","_meta":{"k":1}}"#;

    #[test]
    fn later_clients_get_the_instances_answer_with_their_own_version() {
        let handshake = Handshake::from_result(RESULT).unwrap();
        let answer = handshake.answer(ProtocolVersion::V2024_11_05);
        assert_eq!(answer, RESULT.replace("2025-06-18", "2024-11-05"));
        assert!(handshake.offers("logging"));
        assert!(!handshake.offers("resources"));
    }

    #[test]
    fn a_blob_reads_back() {
        let handshake = Handshake::from_result(RESULT)
            .unwrap()
            .with_tools(vec!["a".into()]);
        assert_eq!(
            Handshake::from_blob(&handshake.to_blob()).unwrap(),
            handshake
        );
    }

    #[test]
    fn a_blob_of_another_layout_or_none_is_refused() {
        assert!(matches!(
            Handshake::from_blob(b"nonsense"),
            Err(BlobError::Unreadable(_))
        ));
        let newer = br#"{"layout":2,"result":"{}","tools":[]}"#;
        assert!(matches!(
            Handshake::from_blob(newer),
            Err(BlobError::Layout { found: 2 })
        ));
        let empty = br#"{"layout":1,"result":"{}","tools":[]}"#;
        assert!(matches!(
            Handshake::from_blob(empty),
            Err(BlobError::Refused(_))
        ));
    }

    #[test]
    fn an_unknown_version_is_named() {
        let error = Handshake::from_result(r#"{"protocolVersion":"2031-01-01"}"#).unwrap_err();
        assert!(error.contains("2031-01-01"), "{error}");
    }
}
