//! The server as its callers see it, in process: one file a capability.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod attacks;
mod backup;
mod blackbox;
mod cli;
mod errors;
mod logs;
mod master_key;
mod openapi;
mod races;
mod renewal;
mod scaem;
mod start;
mod store;
mod support;
mod validation;
