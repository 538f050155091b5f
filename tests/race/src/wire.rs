//! HTTP to the nodes.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request,
    body::Bytes,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde_json::Value;
use tokio::{sync::watch, time::timeout};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the nodes are reached; a restarted one has another port.
pub type Addresses = Vec<watch::Receiver<Arc<str>>>;

/// Connections that are kept.
#[derive(Debug)]
pub struct Wire {
    http: Client<HttpConnector, Full<Bytes>>,
    nodes: Addresses,
}

/// What came back.
#[derive(Debug)]
pub enum Reply {
    /// Status and body; null when that is no JSON.
    Answered(u16, Value),
    /// No answer: the request may have been carried out, or be so still.
    Unknown,
    /// There was no connection to send it on.
    Unsent,
}

impl Wire {
    pub fn new(nodes: Addresses) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(PATIENCE));
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            // A request is sent once: the history counts every one.
            .retry_canceled_requests(false)
            .build(connector);
        Self { http, nodes }
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub async fn request(
        &self,
        node: usize,
        method: Method,
        path: &str,
        key: &str,
        body: Option<&Value>,
    ) -> Reply {
        let address = self.nodes[node].borrow().clone();
        let body = body.map(ToString::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("{address}{path}"))
            .header(AUTHORIZATION, key)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body));
        let Ok(request) = request else {
            return Reply::Unsent;
        };
        let exchange = async {
            let response = match self.http.request(request).await {
                Ok(response) => response,
                Err(error) if error.is_connect() => return Reply::Unsent,
                Err(_) => return Reply::Unknown,
            };
            let status = response.status().as_u16();
            match response.into_body().collect().await {
                Ok(body) => Reply::Answered(
                    status,
                    serde_json::from_slice(&body.to_bytes()).unwrap_or_default(),
                ),
                Err(_) => Reply::Unknown,
            }
        };
        timeout(PATIENCE, exchange).await.unwrap_or(Reply::Unknown)
    }
}
