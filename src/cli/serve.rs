//! `renewd serve`

use std::sync::Arc;

use ambient::{Clock, Rng};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::{
    open::{root_key_notice, secrets},
    outcome::Outcome,
    print::say,
};
use crate::{config::Config, http::raise_file_limit, start};

pub async fn run(config: Config) -> Outcome {
    if let Err(error) = raise_file_limit() {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "cannot open more files than this process started with"
        );
    }
    // Before anything is waited for or announced: until then a signal kills the process.
    let mut stop = Box::pin(stop_signal()?);
    // Both ports are taken before the store is touched: a second server on it says so and goes.
    let listener = bind(config.listen).await?;
    let metrics = match config.metrics_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let opening = start::open(config, secrets()?, Clock::system(), Rng::system());
    let opened = tokio::select! {
        opened = opening => opened?,
        () = &mut stop => {
            tracing::info!("stopped before it served");
            return Ok(());
        }
    };

    let address = listener.local_addr()?;
    let key = opened.root_key.as_ref().map(root_key_notice);
    say(&format!(
        "{}renewd {} serves http://{address}\nSwagger UI: http://{address}/docs",
        key.unwrap_or_default(),
        env!("CARGO_PKG_VERSION"),
    ))?;

    let shutdown = CancellationToken::new();
    let stopping = shutdown.clone();
    let stopped_twice = async move {
        stop.await;
        // Listened for from now on: the first signal would be taken for the second, too.
        let again = stop_signal();
        tracing::info!("stopping: finishing the requests under way");
        stopping.cancel();
        match again {
            Ok(again) => again.await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        served = crate::serve(Arc::new(opened.app), listener, metrics, shutdown) => served?,
        () = stopped_twice => {
            return Err("stopped at once by a second signal: what was under way was cut off".into());
        }
    }
    tracing::info!("stopped");
    Ok(())
}

async fn bind(address: std::net::SocketAddr) -> Outcome<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}").into())
}

/// Ends with SIGTERM or Ctrl-C.
///
/// # Errors
/// When the system takes no handler.
pub(super) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
