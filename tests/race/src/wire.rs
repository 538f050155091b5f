//! HTTP to the nodes.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderName},
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
    Answered(u16, Body),
    /// No answer: the request may have been carried out, or be so still.
    Unknown,
    /// There was no connection to send it on.
    Unsent,
}

/// What is in an answer.
#[derive(Debug, Default)]
pub struct Body(Bytes);

impl Body {
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Null when it is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.0).unwrap_or_default()
    }

    /// A member that is a text.
    pub fn text(&self, name: &str) -> Option<String> {
        Some(self.json().get(name)?.as_str()?.to_owned())
    }
}

impl Reply {
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered(status, _) => Some(*status),
            Self::Unknown | Self::Unsent => None,
        }
    }

    pub fn is_ok(&self) -> bool {
        self.status() == Some(200)
    }
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
        headers: &[(HeaderName, &str)],
        body: Option<&Value>,
    ) -> Reply {
        let address = self.nodes[node].borrow().clone();
        let body = body.map(ToString::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{address}{path}"))
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let Ok(request) = request.body(Full::from(body)) else {
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
                Ok(body) => Reply::Answered(status, Body(body.to_bytes())),
                Err(_) => Reply::Unknown,
            }
        };
        timeout(PATIENCE, exchange).await.unwrap_or(Reply::Unknown)
    }
}
