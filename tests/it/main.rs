//! The server as its callers see it, in process: one file a capability.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod app_keys;
mod attacks;
mod audit;
mod backup;
mod bench;
mod blackbox;
mod cli;
mod connections;
mod device_races;
mod devices;
mod engines;
mod errors;
mod jobs;
mod kecak;
mod logs;
mod master_key;
mod matrix;
mod nodes;
mod openapi;
mod races;
mod recognition;
mod renewal;
mod scaem;
mod signing_keys;
mod smart_app_push;
mod spotflow;
mod start;
mod store;
mod support;
mod validation;
