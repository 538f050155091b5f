//! Serves until told to stop.

use std::{io, sync::Arc, time::Duration};

use poem::{Endpoint, Response, Server, listener::TcpAcceptor};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{api, app::App, jobs};

/// How long requests under way may take after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// How long a connection may be silent before it is closed.
const IDLE: Duration = Duration::from_secs(120);

/// Serves the API on `listener`, and the metrics on `metrics`, until `shutdown`, and for the delay of the settings after
/// that, in which it says that it is not ready; then finishes the requests under way, ends the jobs, and closes the store.
///
/// # Errors
/// When a listener cannot be served, or the store does not close properly.
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
    let api = run(listener, api::endpoint(app.clone()), &stop);
    let metrics = async {
        match metrics {
            Some(listener) => run(listener, api::metrics_endpoint(app.clone()), &stop).await,
            None => Ok(()),
        }
    };
    let jobs = async {
        jobs::run(&app, stop.clone()).await;
        Ok(())
    };
    let served = tokio::try_join!(api, metrics, jobs, drain);
    app.close().await.map_err(io::Error::other)?;
    served.map(|_| ())
}

async fn run(
    listener: TcpListener,
    endpoint: impl Endpoint<Output = Response> + 'static,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    let acceptor = TcpAcceptor::from_tokio(listener)?;
    let signal = shutdown.cancelled();
    Server::new_with_acceptor(acceptor)
        .idle_timeout(IDLE)
        .run_with_graceful_shutdown(endpoint, signal, Some(DRAIN))
        .await
}
