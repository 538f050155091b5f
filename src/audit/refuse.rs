//! Records that somebody was refused the administration.

use std::time::Duration;

use tokio::time::timeout;

use super::{Action, Actor, Event, record};
use crate::app::App;

/// How long a refusal waits until it is recorded. Past it the answer is given, for it says nothing of the store; it is recorded
/// when the store takes it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Records that somebody was refused the administration, unless too many were already.
pub async fn record_refusal(app: &App, actor: Actor) {
    let now = app.clock.now();
    app.metrics.refused();
    if !app.refusals.admits(now) {
        return;
    }
    let (writer, rng) = (app.store.writer.clone(), app.rng.clone());
    let recording = app.store.spawn(async move {
        let event = Event::of_server(Action::RootRefused);
        if let Err(error) = record(&writer, &rng, now, &actor, [event]).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot record a refusal"
            );
        }
    });
    let _ = timeout(PATIENCE, recording).await;
}
