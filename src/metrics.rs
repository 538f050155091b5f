//! What Prometheus reads.

use std::{fmt, sync::Arc};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::http::Counts;

/// The counters of this process.
#[derive(Clone)]
pub struct Metrics {
    requests: Family<Request, Counter>,
    durations: Family<Route, Histogram>,
    renewals: Family<RenewalResult, Counter>,
    registrations: Family<RenewalResult, Counter>,
    verified: Counter,
    prepared_anew: Counter,
    refusals: Counter,
    refused_keys: Counter,
    jobs: Family<JobResult, Counter>,
    clock_disbelieved: Gauge,
    /// The connections of the listeners.
    pub(crate) connections: Counts,
    registry: Arc<Registry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RenewalResult {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobResult {
    job: &'static str,
    result: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let requests = Family::default();
        let renewals = Family::default();
        let registrations = Family::default();
        let verified = Counter::default();
        let prepared_anew = Counter::default();
        let refusals = Counter::default();
        let refused_keys = Counter::default();
        let jobs = Family::default();
        let clock_disbelieved = Gauge::default();
        let connections = Counts::default();
        // 0.1 ms to 3.3 s.
        let durations = Family::<Route, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.0001, 2.0, 16))
        });
        let mut registry = Registry::with_prefix("renewd");
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time from a request's arrival to its answer",
            durations.clone(),
        );
        registry.register("renewals", "Renewals by their result", renewals.clone());
        registry.register(
            "registration_refreshes",
            "Refreshes of registration tokens by their result",
            registrations.clone(),
        );
        registry.register(
            "refresh_tokens_verified",
            "Refresh tokens whose signature was verified: those that are not, byte for byte, the ones handed out last",
            verified.clone(),
        );
        registry.register(
            "renewals_prepared_anew",
            "Renewals that were prepared anew because their app was changed meanwhile",
            prepared_anew.clone(),
        );
        registry.register(
            "administration_refused",
            "Requests to the administration without a good root key",
            refusals.clone(),
        );
        registry.register(
            "keys_refused",
            "Requests without a good key where one is needed, the root key or an app's",
            refused_keys.clone(),
        );
        registry.register("job_runs", "Runs of jobs by their result", jobs.clone());
        registry.register(
            "clock_disbelieved",
            "1 while the clock is far from the newest time that the store knows, so that the jobs rest",
            clock_disbelieved.clone(),
        );
        connections.register(&mut registry);
        Self {
            requests,
            durations,
            renewals,
            registrations,
            verified,
            prepared_anew,
            refusals,
            refused_keys,
            jobs,
            clock_disbelieved,
            connections,
            registry: Arc::new(registry),
        }
    }
}

impl Metrics {
    /// Counts a request; `route` is the template, never the path, which may hold anything.
    pub fn answered(&self, method: &str, route: &str, status: u16, seconds: f64) {
        let route = route.to_owned();
        self.durations
            .get_or_create(&Route {
                route: route.clone(),
            })
            .observe(seconds);
        self.requests
            .get_or_create(&Request {
                method: method.to_owned(),
                route,
                status,
            })
            .inc();
    }

    /// Counts a renewal with this result.
    pub fn renewed(&self, result: &'static str) {
        self.renewals.get_or_create(&RenewalResult { result }).inc();
    }

    /// Counts a refresh of a registration token with this result.
    pub fn refreshed(&self, result: &'static str) {
        let counted = self.registrations.get_or_create(&RenewalResult { result });
        counted.inc();
    }

    /// Counts a refresh token whose signature is verified.
    pub fn verifies(&self) {
        self.verified.inc();
    }

    /// Counts a renewal that is prepared anew.
    pub fn prepares_anew(&self) {
        self.prepared_anew.inc();
    }

    /// Counts a request to the administration that was refused.
    pub fn refused(&self) {
        self.refusals.inc();
    }

    /// Counts a request that was refused for want of a good key of whatever kind.
    pub fn key_refused(&self) {
        self.refused_keys.inc();
    }

    /// Counts a run of a job.
    pub fn ran(&self, job: &'static str, succeeded: bool) {
        let result = if succeeded { "succeeded" } else { "failed" };
        self.jobs.get_or_create(&JobResult { job, result }).inc();
    }

    /// Shows whether the clock is believed.
    pub fn believes_clock(&self, is_believed: bool) {
        self.clock_disbelieved.set(i64::from(!is_believed));
    }

    /// The exposition in the text form of `OpenMetrics`.
    pub fn exposition(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
