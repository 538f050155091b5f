//! renewd: a self-hosted issuer of JWT sessions that are renewed with single-use refresh tokens.
//!
//! What asks the store fails when the store fails. An `# Errors` section says what else can go wrong.

pub mod api;
pub mod app;
pub mod apps;
pub mod audit;
pub mod cli;
pub mod config;
mod database_url;
pub mod devices;
pub mod error;
mod http;
pub mod jobs;
pub mod master;
pub mod metrics;
mod page;
pub mod rekey;
pub mod rotation;
mod serve;
pub mod sessions;
pub mod signing;
pub mod start;
mod turns;
mod watch;

pub use serve::serve;
