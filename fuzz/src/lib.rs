//! A server in the process of the fuzzer, on an embedded store of its own, and what must be true of each of its answers.

use std::{cell::RefCell, sync::Arc};

use ambient::{Clock, Rng};
use entity::PlainSecret;
use poem::{
    Endpoint, EndpointExt, Request, Response,
    endpoint::BoxEndpoint,
    http::{Method, StatusCode, header},
};
use renewd::{
    app::App,
    config::{Config, Secrets},
    start,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const ROOT_KEY: &str = "root-key-of-the-fuzzer-0123456789";

/// Bytes that no answer exceeds: of what was sent, little comes back.
const LONGEST_ANSWER: usize = 24 * 1024;

/// Method and path; the ids in the path are those of the server.
pub struct Operation(pub &'static str, pub &'static str);

struct Server {
    runtime: Runtime,
    app: Arc<App>,
    requests: u32,
    endpoint: BoxEndpoint<'static, Response>,
    app_id: String,
    session_id: String,
    auth_token: String,
    /// The secret and the publishable key of the app, and the root key.
    keys: [String; 3],
    _dir: TempDir,
}

/// Requests after which a new server is begun: what they did to the store does not stay for ever.
const LIFE: u32 = 2000;

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// Sends a request: the first byte of `data` chooses the operation, the second the key, and what follows is the body. In it
/// `$app`, `$key` and `$token` stand for the id of the app, its secret key, and an auth token.
///
/// # Panics
/// When the answer is one that nobody should get.
pub fn try_request(operations: &[Operation], data: &[u8]) {
    let [choice, key, body @ ..] = data else {
        return;
    };
    let operation = &operations[usize::from(*choice) % operations.len()];
    SERVER.with_borrow_mut(|server| {
        if server
            .as_ref()
            .is_some_and(|server| server.requests == LIFE)
            && let Some(old) = server.take()
        {
            old.stop();
        }
        let server = server.get_or_insert_with(|| Server::start(operations));
        server.requests += 1;
        server.try_request(operation, *key, body);
    });
}

impl Server {
    fn try_request(&self, operation: &Operation, key: u8, body: &[u8]) {
        let (method, path) = (operation.0, self.path(operation));
        let body = match std::str::from_utf8(body) {
            Ok(text) => text
                .replace("$app", &self.app_id)
                .replace("$key", &self.keys[0])
                .replace("$token", &self.auth_token)
                .into_bytes(),
            Err(_) => body.to_vec(),
        };
        let (status, answer) = self.send(method, &path, self.key(operation, key), body);
        let shown = String::from_utf8_lossy(&answer);
        assert!(
            !status.is_server_error(),
            "{method} {path}: {status} {shown}"
        );
        assert!(
            answer.len() <= LONGEST_ANSWER,
            "{method} {path}: {} bytes",
            answer.len()
        );
        let parsed: Result<Value, _> = serde_json::from_slice(&answer);
        assert!(parsed.is_ok(), "{method} {path}: {status} {shown}");
    }

    fn path(&self, operation: &Operation) -> String {
        let path = operation.1.replace("{app_id}", &self.app_id);
        path.replace("{session_id}", &self.session_id)
    }

    /// What the request is sent with: nothing, or one of the keys; at Kecak's API, the token of a user.
    fn key(&self, operation: &Operation, choice: u8) -> Option<&str> {
        let key = self.keys.get(usize::from(choice) % 4)?;
        let is_of_user = operation.1.contains("kecak");
        Some(if is_of_user { &self.auth_token } else { key })
    }

    fn start(operations: &[Operation]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::load(None, Default::default()).unwrap();
        config.data_dir = dir.path().join("data");
        config.database_url = format!("sqlite://{}/renewd.db?mode=rwc", config.data_dir.display());
        let secrets = Secrets {
            root_key: Some(PlainSecret::from_text(ROOT_KEY)),
            ..Secrets::default()
        };
        let opened = runtime.block_on(start::open(config, secrets, Clock::system(), Rng::system()));
        let app = Arc::new(opened.unwrap().app);
        runtime.block_on(renewd::jobs::clock::look(&app)).unwrap();
        let endpoint = renewd::api::endpoint(app.clone()).boxed();
        let mut server = Self {
            runtime,
            endpoint,
            app,
            requests: 0,
            app_id: String::new(),
            session_id: String::new(),
            auth_token: String::new(),
            keys: [String::new(), String::new(), ROOT_KEY.to_owned()],
            _dir: dir,
        };
        let policy = json!({
            "name": "fuzz", "token_expire": 3600, "refresh_expire": 7200, "refresh_notbefore": 0,
            "key_type": "ECDSA", "algo": "ES256", "rotation_period": 86400,
        });
        let app = server.make("/root/create", ROOT_KEY, &policy);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        server.app_id = text(&app["app_id"]);
        server.keys[0] = text(&app["app_key"]);
        server.keys[1] = text(&app["publishable_key"]);
        let session =
            json!({"sub": "somebody", "aud": "web", "ip": "1.1.1.1", "useragent": "fuzz"});
        let path = format!("/app/{}/sign", server.app_id);
        let session = server.make(&path, &server.keys[0], &session);
        server.session_id = text(&session["session_id"]);
        server.auth_token = text(&session["auth_token"]);
        for operation in operations {
            let path = server.path(operation);
            let key = server.key(operation, 2);
            let (status, _) = server.send(operation.0, &path, key, b"{}".to_vec());
            let is_there =
                ![StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&status);
            assert!(is_there, "{path}: {status}");
        }
        server
    }

    fn stop(self) {
        self.runtime.block_on(self.app.close()).unwrap();
    }

    fn make(&self, path: &str, key: &str, body: &Value) -> Value {
        let (status, answer) = self.send("POST", path, Some(key), body.to_string().into_bytes());
        let shown = String::from_utf8_lossy(&answer);
        assert_eq!(status, StatusCode::OK, "{path}: {shown}");
        serde_json::from_slice(&answer).unwrap()
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Vec<u8>,
    ) -> (StatusCode, Vec<u8>) {
        let mut request = Request::builder()
            .method(method.parse::<Method>().unwrap())
            .uri_str(path)
            .content_type("application/json");
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, key);
        }
        let request = request.body(body);
        self.runtime.block_on(async {
            let response = self.endpoint.call(request).await.unwrap();
            let status = response.status();
            (status, response.into_body().into_vec().await.unwrap())
        })
    }
}
