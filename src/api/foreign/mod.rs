//! The surfaces of other documented systems, so that their clients work unchanged.

pub mod kecak;
pub mod scaem;
pub mod smart_app_push;
pub mod spotflow;
