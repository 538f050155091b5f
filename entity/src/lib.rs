//! The tables: one file a table, with its columns, its state, its scoped finders and its guarded
//! transitions. Helpers take any connection; only the verbs of the server begin and commit.
//!
//! Every finder and every transition fails when the store fails. An `# Errors` section says what else can go wrong.

pub mod app;
pub mod app_key;
pub mod audit_event;
pub mod device;
pub mod id;
pub mod lease;
pub mod registration_token;
pub mod secret;
pub mod session;
pub mod setting;
pub mod signing_key;
pub mod time;
mod write;

pub use self::{
    id::{
        AppId, AppKeyId, AuditEventId, DeviceId, InvalidId, NodeId, RegistrationTokenId, RequestId,
        SessionId, SigningKeyId, TokenId,
    },
    secret::{PlainSecret, SecretHash, SecretKind},
    time::Timestamp,
    write::{insert, replace},
};
