//! What is known of a request before its operation is called.

use std::{sync::Arc, time::Instant};

use entity::AppId;
use poem::Request;
use rand::RngExt;

use crate::{api::outage::Outage, app::App, error::Error};

/// Seconds over which clients are spread that come back after an outage.
const JITTER: i64 = 4;

/// The app that the path of a request names, in groups of routes where a path does; none if it names none that there could be.
#[derive(Clone, Copy, Debug)]
pub struct InPath(pub Option<AppId>);

/// What surrounds a request: its id, the app, and what was logged of an outage.
#[derive(Clone, Debug)]
pub struct Context {
    pub id: Arc<str>,
    pub app: Arc<App>,
    pub outage: Arc<Outage>,
}

impl Context {
    /// That of `request`.
    ///
    /// # Errors
    /// Never, but for a defect of ours.
    pub fn of(request: &Request) -> Result<Self, Error> {
        let context = request.data::<Self>().cloned();
        context.ok_or_else(|| Error::internal("the request has no context"))
    }

    /// Writes the cause of a failure of ours to the log, which the answer does not tell. Of an outage a line now and then is enough.
    pub fn log_failure(&self, is_outage: bool, cause: &(dyn std::error::Error + 'static)) {
        let request_id = &*self.id;
        if !is_outage {
            tracing::error!(request_id, error = cause, "request failed");
        } else if let Some(left_out) = self.outage.tell(Instant::now()) {
            tracing::error!(request_id, error = cause, left_out, "request failed");
        } else {
            tracing::debug!(request_id, error = cause, "request failed");
        }
    }

    /// Seconds that keep clients from coming back all at once.
    pub fn jitter(&self) -> i64 {
        self.app.rng.with(|rng| rng.random_range(0..=JITTER))
    }
}
