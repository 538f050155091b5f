//! All runs in one JSON object.

use serde::Serialize;

use crate::{
    latency::Latency,
    options::{Load, Operation},
    run::Run,
    subject::Subject,
};

/// The figures are the medians of the runs.
#[derive(Debug, Serialize)]
pub struct Summary<'a> {
    operation: Operation,
    #[serde(flatten)]
    subject: &'a Subject,
    sessions: u32,
    connections: u32,
    warm_up_seconds: u32,
    seconds: u32,
    /// Operations a second that were asked for; null in a closed loop.
    rate: Option<u32>,
    pub operations_per_second: f64,
    latency_ms: Latency,
    server_cpu_us_per_operation: Option<f64>,
    database_cpu_us_per_operation: Option<f64>,
    floor: &'static str,
    floor_us: f64,
    pub ratio: Option<f64>,
    pub tokens_verified: u64,
    used_tokens_refused: usize,
    runs: &'a [Run],
}

impl<'a> Summary<'a> {
    pub fn of(
        subject: &'a Subject,
        load: &Load,
        runs: &'a [Run],
        used_tokens_refused: usize,
    ) -> Self {
        let latency =
            |percentile: fn(&Latency) -> f64| median(runs, |run| percentile(&run.latency_ms));
        Self {
            operation: load.operation,
            subject,
            sessions: load.sessions,
            connections: load.connections,
            warm_up_seconds: load.warm_up,
            seconds: load.seconds,
            rate: load.rate,
            operations_per_second: median(runs, |run| run.operations_per_second),
            latency_ms: Latency {
                p50: latency(|latency| latency.p50),
                p90: latency(|latency| latency.p90),
                p99: latency(|latency| latency.p99),
                p99_9: latency(|latency| latency.p99_9),
                max: latency(|latency| latency.max),
            },
            server_cpu_us_per_operation: median_if(runs, |run| run.server_cpu_us_per_operation),
            database_cpu_us_per_operation: median_if(runs, |run| run.database_cpu_us_per_operation),
            floor: load.operation.floor(),
            floor_us: median(runs, |run| run.floor_us),
            ratio: median_if(runs, |run| run.ratio),
            tokens_verified: runs.iter().map(|run| run.tokens_verified).sum(),
            used_tokens_refused,
            runs,
        }
    }
}

fn median(runs: &[Run], figure: impl Fn(&Run) -> f64) -> f64 {
    median_if(runs, |run| Some(figure(run))).unwrap_or_default()
}

/// Of the runs that have the figure; `None` when none has. Of an even number, the mean of the two in the middle.
fn median_if(runs: &[Run], figure: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
    let mut figures: Vec<f64> = runs.iter().filter_map(figure).collect();
    figures.sort_by(f64::total_cmp);
    let upper = *figures.get(figures.len() / 2)?;
    let lower = figures[(figures.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}
