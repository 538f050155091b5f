//! HTTP/1 over TCP: connections are accepted, served, and closed when they keep the server waiting.

mod body;
mod connections;
mod counts;
mod limits;
mod progress;
mod stream;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::combinators::BoxBody;
use hyper::{
    body::{Body as _, Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use poem::{
    Body, Endpoint, Request, RequestParts, Response,
    http::{self, HeaderValue, header, uri::Scheme},
    web::{LocalAddr, RemoteAddr},
};
use rustix::io::Errno;
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use self::connections::Place;
pub use self::{
    connections::Connections,
    counts::Counts,
    limits::{Limits, raise_file_limit},
};

/// Bytes that the head of a request may have. The longest that is asked for holds an auth token of 16 KiB of claims.
const HEAD: usize = 64 * 1024;

/// How long nothing is accepted after that failed: for want of files it would fail again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// How often to look for connections that have become silent, while the server stops.
const WIND_UP: Duration = Duration::from_millis(20);

/// Serves `endpoint` on `listener` until `stop`. Then no connection is accepted any more, those that wait for nothing are
/// closed, and what is under way may take for as long as `drain`.
pub async fn serve<E>(
    listener: TcpListener,
    endpoint: E,
    connections: Arc<Connections>,
    stop: &CancellationToken,
    drain: Duration,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let endpoint = Arc::new(endpoint);
    select! {
        () = accept(&listener, &endpoint, &connections) => {}
        () = close_overdue(&connections) => {}
        () = stop.cancelled() => {}
    }
    drop(listener);
    let end = Instant::now() + drain;
    while connections.wind_up() && Instant::now() < end {
        connections.close_overdue();
        connections.freed(WIND_UP).await;
    }
    while connections.close_all() {
        connections.freed(WIND_UP).await;
    }
}

/// Accepts connections, for ever.
async fn accept<E>(listener: &TcpListener, endpoint: &Arc<E>, connections: &Arc<Connections>)
where
    E: Endpoint<Output = Response> + 'static,
{
    let mut is_failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                is_failing = false;
                if let Some(place) = connections.admit(peer.ip()).await {
                    let connection = place.connection.clone();
                    let task = tokio::spawn(converse(stream, peer, place, endpoint.clone()));
                    connection.served_by(task.abort_handle());
                }
            }
            // The client went before it was accepted.
            Err(error) if is_of_client(&error) => {}
            Err(error) => {
                connections.counts().failures.inc();
                if !is_failing {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot accept connections"
                    );
                }
                is_failing = true;
                if lacks_files(&error) && connections.make_room() {
                    connections.freed(PAUSE).await;
                } else {
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

fn is_of_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

fn lacks_files(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| [Errno::MFILE, Errno::NFILE].contains(&errno))
}

/// Closes the connections whose time is over, for ever.
async fn close_overdue(connections: &Connections) {
    let tick = connections.limits().deadlines.tick();
    loop {
        sleep(tick).await;
        connections.close_overdue();
    }
}

/// Serves one connection. `place` is given back when the connection is closed.
async fn converse<E>(stream: TcpStream, peer: SocketAddr, place: Place, endpoint: Arc<E>)
where
    E: Endpoint<Output = Response> + 'static,
{
    let local = stream.local_addr();
    let local = LocalAddr(local.map_or_else(|_| LocalAddr::default().0, Into::into));
    let remote = RemoteAddr(peer.into());
    // An interim answer would keep the final one waiting; hyper sends what belongs together at once.
    let _ = stream.set_nodelay(true);
    let stream = stream::Observed::new(stream, place.connection.clone());
    let service = service_fn(|request| {
        let addresses = (local.clone(), remote.clone());
        Box::pin(answer(&*endpoint, request, addresses, &place))
    });
    let served = http1::Builder::new()
        .max_header_size(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        // Of the client, mostly, which went or does not speak HTTP.
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "connection failed"
        );
    }
}

async fn answer<E: Endpoint<Output = Response>>(
    endpoint: &E,
    request: http::Request<Incoming>,
    (local, remote): (LocalAddr, RemoteAddr),
    place: &Place,
) -> Result<http::Response<BoxBody<Bytes, io::Error>>, Infallible> {
    let connection = &place.connection;
    let (parts, incoming) = request.into_parts();
    let has_body = !incoming.is_end_stream();
    connection.progress.asked(has_body);
    let body = if has_body {
        BoxBody::new(body::Observed::new(incoming, connection.clone())).into()
    } else {
        Body::empty()
    };
    let parts = RequestParts::from((parts, local, remote, Scheme::HTTP));
    let mut response = endpoint
        .get_response(Request::from_parts(parts, body))
        .await;
    if place.is_last_answer() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    connection.progress.answered();
    Ok(response.into())
}
