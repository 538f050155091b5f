//! Serves until told to stop.

use std::{io, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    api,
    app::App,
    http::{self, Connections, Limits},
    jobs,
};

/// How long requests under way may take after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves the API on `listener`, and the metrics on `metrics`, until `shutdown`, and for the delay of the settings after
/// that, in which it says that it is not ready; then finishes the requests under way, ends the jobs, and closes the store, all
/// within the time of the settings.
///
/// # Errors
/// When a listener cannot be served, the store does not close properly, or something was cut off.
pub async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    metrics: Option<TcpListener>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let stop = CancellationToken::new();
    let drain = async {
        shutdown.cancelled().await;
        app.stopping.cancel();
        tokio::time::sleep(app.config.shutdown_delay()).await;
        stop.cancel();
        Ok(())
    };
    let counts = &app.metrics.connections;
    let connections = Connections::new(Limits::of_api(&app.config), counts.of("api"));
    let endpoint = api::endpoint(app.clone());
    let api = async {
        http::serve(listener, endpoint, connections, &stop, DRAIN).await;
        Ok(())
    };
    let metrics = async {
        if let Some(listener) = metrics {
            let connections =
                Connections::new(Limits::of_metrics(&app.config), counts.of("metrics"));
            let endpoint = api::metrics_endpoint(app.clone());
            http::serve(listener, endpoint, connections, &stop, DRAIN).await;
        }
        Ok(())
    };
    let jobs = async {
        jobs::run(&app, stop.clone()).await;
        Ok(())
    };
    let all = async {
        let served = tokio::try_join!(api, metrics, jobs, drain);
        app.close().await.map_err(io::Error::other)?;
        served.map(|_| ())
    };
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(app.config.shutdown_delay() + app.config.shutdown_timeout()).await;
    };
    tokio::select! {
        done = all => done,
        () = late => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "what was still under way after shutdown_timeout was cut off",
        )),
    }
}
