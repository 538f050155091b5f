use std::sync::Arc;

use poem::{
    Endpoint, Request, RequestParts, Response,
    endpoint::BoxEndpoint,
    http::{self, Method},
    web::{LocalAddr, RemoteAddr},
};
use serde_json::Value;

use super::Answer;

/// A caller with or without a key, at an address of its own.
#[derive(Clone)]
pub struct Client {
    server: Arc<BoxEndpoint<'static, Response>>,
    headers: Vec<(String, String)>,
}

impl Client {
    pub fn new(server: Arc<BoxEndpoint<'static, Response>>) -> Self {
        Self {
            server,
            headers: Vec::new(),
        }
    }

    pub fn with_key(self, key: &str) -> Self {
        self.with_header("authorization", key)
    }

    /// With this header in place of any other of its name.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, Vec::new()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None, Vec::new()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send_json(Method::POST, path, body).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send_json(Method::PATCH, path, body).await
    }

    pub async fn send_json(&self, method: Method, path: &str, body: Value) -> Answer {
        let json = Some("application/json");
        self.send(method, path, json, body.to_string()).await
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: impl Into<poem::Body>,
    ) -> Answer {
        let peer: std::net::SocketAddr = "203.0.113.7:40000".parse().unwrap();
        let mut request = http::Request::builder().method(method).uri(path);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let (local, remote) = (LocalAddr::default(), RemoteAddr(peer.into()));
        let parts = RequestParts::from((parts, local, remote, http::uri::Scheme::HTTP));
        let request = Request::from_parts(parts, body.into());
        let response = self.server.call(request).await.unwrap();
        Answer::read(response).await
    }
}
