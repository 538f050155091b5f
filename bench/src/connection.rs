//! One connection to the server, which is kept.

use std::{fmt, pin::Pin};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Uri,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{
    failure::{Done, During, Failure},
    wire::Answer,
};

/// Where the server is.
#[derive(Clone)]
pub struct Address {
    /// Host and port.
    authority: String,
    /// What each path begins with; mostly empty.
    prefix: String,
}

/// A call that is made again and again: all of a request but its body.
#[derive(Clone)]
pub struct Endpoint {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

/// Driven by whoever waits for the answer, so that an exchange stays in one task.
pub struct Connection {
    address: Address,
    sender: SendRequest<Full<Bytes>>,
    driver: Option<Driver>,
}

type Driver = Pin<Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>;

impl Address {
    pub fn parse(url: &str) -> Done<Self> {
        let wrong = |why: &str| Failure::of(format!("{url} {why}, such as http://127.0.0.1:2025"));
        let uri: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong(
                "cannot be measured: the bench speaks HTTP without TLS; name the server behind the proxy",
            ));
        }
        let authority = uri.authority().ok_or_else(|| wrong("names no server"))?;
        let host = authority.host();
        Ok(Self {
            authority: format!("{host}:{}", authority.port_u16().unwrap_or(80)),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

impl Endpoint {
    pub fn new(address: &Address, method: Method, path: &str, key: &str) -> Done<Self> {
        let header = |value: &str| HeaderValue::from_str(value).during("put a key into a header");
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(HOST, header(&address.authority)?);
        headers.insert(AUTHORIZATION, header(key)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let path = format!("{}{path}", address.prefix);
        Ok(Self {
            method,
            uri: path.parse().during(format!("call {path}"))?,
            headers,
        })
    }

    fn request(&self, body: String) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().clone_from(&self.headers);
        request
    }
}

impl Connection {
    pub async fn open(address: &Address) -> Done<Self> {
        let (sender, driver) = dial(address).await?;
        Ok(Self {
            address: address.clone(),
            sender,
            driver: Some(driver),
        })
    }

    /// Sends a request and waits for its answer. A connection that the server or a proxy closed after an earlier answer is
    /// replaced first.
    pub async fn exchange(&mut self, endpoint: &Endpoint, body: String) -> Done<Answer> {
        if !self.is_ready().await {
            let (sender, driver) = dial(&self.address).await?;
            self.sender = sender;
            self.driver = Some(driver);
        }
        let sending = self.sender.send_request(endpoint.request(body));
        let mut answer = std::pin::pin!(async {
            let response = sending.await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Answer { status, body })
        });
        let answered = match &mut self.driver {
            Some(driver) => tokio::select! {
                biased;
                answered = &mut answer => Some(answered),
                _ = driver => None,
            },
            None => None,
        };
        let answered = match answered {
            Some(answered) => answered,
            // The connection has ended, perhaps with the answer as its last act.
            None => {
                self.driver = None;
                answer.await
            }
        };
        answered.during(format!("get an answer from {}", self.address))
    }

    async fn is_ready(&mut self) -> bool {
        let Some(driver) = &mut self.driver else {
            return false;
        };
        tokio::select! {
            biased;
            ready = self.sender.ready() => ready.is_ok(),
            _ = driver => false,
        }
    }
}

async fn dial(address: &Address) -> Done<(SendRequest<Full<Bytes>>, Driver)> {
    let what = format!("connect to {address}");
    let stream = TcpStream::connect(&address.authority).await.during(&what)?;
    stream.set_nodelay(true).during(&what)?;
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.during(&what)?;
    Ok((sender, Box::pin(driver)))
}
