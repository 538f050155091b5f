//! The server as its callers see it, in process: one file a capability.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod attacks;
mod errors;
mod renewal;
mod support;
mod validation;
