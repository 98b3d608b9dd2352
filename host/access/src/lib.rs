//! Who may do what, and which tokens and calls are what they say.
//!
//! Three questions, all answered without waiting for anybody: may this request be served ([`Access::authorize`]), did this router (or
//! an earlier one with the same key) make this session id, or this link ([`Sealer::open`]), and did who knows a secret make this call
//! ([`is_signed`])? The room reads the operating system's randomness and one key file. It serves no request, writes no log and keeps no session: callers do.

mod access;
mod key;
mod refusal;
mod request;
mod role;
mod rules;
mod seal;
mod token;
mod webhook;

pub use access::{Access, IdentifiedBy, Principal};
pub use key::{KEY_FILE, KeyError, LoadedKey, load_or_create_key};
pub use refusal::{AccessRefusal, RefusalKind};
pub use request::{AccessRequest, Needed};
pub use role::Roles;
pub use rules::{AccessSettings, OpenWithoutToken, TokenSettings};
pub use seal::{PAYLOAD_BYTES_MAX, SealPurpose, Sealer, UnsealError};
pub use token::{RandomnessError, new_token};
pub use webhook::is_signed;
