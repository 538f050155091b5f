//! How long operations took.

use serde::Serialize;

/// Milliseconds within which so many percent were answered.
#[derive(Clone, Copy, Debug, Serialize, PartialEq)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
}

impl Latency {
    /// Of latencies in µs; all 0 without any.
    pub fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        // The lowest one that so many per mille do not exceed.
        let at = |per_mille: usize| {
            let rank = (micros.len() * per_mille).div_ceil(1000).max(1);
            let micros = micros.get(rank - 1).copied().unwrap_or_default();
            f64::from(micros) / 1000.0
        };
        Self {
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p99_9: at(999),
            max: at(1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_latencies_that_occurred() {
        let thousand = Latency::of((1..=1000).rev().map(|ms| ms * 1000).collect());
        let expected = Latency {
            p50: 500.0,
            p90: 900.0,
            p99: 990.0,
            p99_9: 999.0,
            max: 1000.0,
        };
        assert_eq!(thousand, expected);
        let one = Latency::of(vec![250]);
        assert_eq!((one.p50, one.p99_9, one.max), (0.25, 0.25, 0.25));
    }
}
