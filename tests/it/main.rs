//! The server as its callers see it, in process: one file a capability.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod attacks;
mod blackbox;
mod cli;
mod errors;
mod logs;
mod openapi;
mod renewal;
mod start;
mod store;
mod support;
mod validation;
