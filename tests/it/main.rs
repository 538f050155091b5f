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
mod clocks;
mod connections;
mod demoted;
mod device_matrix;
mod device_quota;
mod device_races;
mod device_takeover;
mod devices;
mod engines;
mod epochs;
mod errors;
#[path = "../faults/mod.rs"]
mod faults;
mod flushed_elsewhere;
mod jobs;
mod kecak;
mod logs;
mod master_key;
mod new_keys;
mod nodes;
mod once;
mod races;
mod recognition;
mod renewal;
mod rights;
mod scaem;
mod signing_keys;
mod silence;
mod smart_app_push;
mod spotflow;
mod start;
mod store;
mod support;
