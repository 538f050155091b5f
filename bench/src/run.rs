//! What came of a run.

use serde::Serialize;

use crate::latency::Latency;

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    pub operations: u64,
    pub operations_per_second: f64,
    /// In an open loop: were due and not begun when the window ended. Their wait until then is among the latencies.
    pub operations_waiting: u64,
    /// Answers that were 503; they are not among the operations.
    pub unavailable: u64,
    pub latency_ms: Latency,
    pub server_cpu_us_per_operation: Option<f64>,
    pub database_cpu_us_per_operation: Option<f64>,
    pub floor_us: f64,
    /// Server CPU / floor.
    pub ratio: Option<f64>,
    pub tokens_verified: u64,
}
