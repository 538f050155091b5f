//! A server of one's own for each test: a fresh store, a clock that the test moves, a seeded generator.

mod answer;
mod capture;
mod client;
pub mod engine;
mod silence;

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use ambient::{Clock, Rng};
use entity::{Timestamp, time::Span};
use poem::{EndpointExt, Response, endpoint::BoxEndpoint};
use rand::{SeedableRng, rngs::ChaCha12Rng};
use renewd::{
    app::App,
    config::{Config, Secrets},
    jobs, start,
};
use serde_json::{Value, json};
use tempfile::TempDir;

pub use answer::{Answer, decode};
pub use capture::Capture;
pub use client::Client;
pub use silence::Silencer;

/// The root key of every test server.
pub const ROOT_KEY: &str = "root-key-of-the-tests-0123456789";

/// When every test begins: the second at which the documented example tokens were issued, and a part.
pub const START_MILLIS: i64 = 1_740_427_049_250;

pub struct TestServer {
    pub app: Arc<App>,
    endpoint: Arc<BoxEndpoint<'static, Response>>,
    millis: Arc<AtomicI64>,
    /// By how much the clock was set.
    set: Arc<AtomicI64>,
    pub dir: TempDir,
}

/// An app of a test server, and its keys.
#[derive(Clone)]
pub struct TestApp {
    pub id: String,
    pub secret_key: String,
    pub publishable_key: String,
    server: Arc<BoxEndpoint<'static, Response>>,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// On the embedded store, whatever engine is under test: for what it alone has.
    pub async fn start_embedded() -> Self {
        Self::start_with(embedded).await
    }

    /// With settings that `change` made.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start_in(dir, change).await
    }

    /// On the store that is in `dir`.
    pub async fn start_in(dir: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        Box::pin(Self::start_at(START_MILLIS, dir, change)).await
    }

    /// The same with a clock that shows another time.
    pub async fn start_at(
        start_millis: i64,
        dir: TempDir,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        capture::install();
        let mut config = Config::load(None, Default::default()).unwrap();
        config.data_dir = dir.path().join("data");
        if !engine::nodes().is_empty() {
            // Many tests share the server and this machine.
            config.database_timeout_ms = 20_000;
            config.database_statement_timeout_ms = 15_000;
        }
        change(&mut config);
        if config.database_url.is_empty() {
            config.database_url = engine::database_url(&config.data_dir);
        }
        let secrets = Secrets {
            root_key: Some(entity::PlainSecret::from_text(ROOT_KEY)),
            ..Secrets::default()
        };
        let millis = Arc::new(AtomicI64::new(start_millis));
        let set = Arc::new(AtomicI64::new(0));
        let (shown, added, ran) = (millis.clone(), set.clone(), millis.clone());
        let clock = Clock::from_fns(
            move || {
                let passed = shown.load(Ordering::SeqCst);
                Timestamp::from_millis(passed + added.load(Ordering::SeqCst))
            },
            move || Span::millis(ran.load(Ordering::SeqCst)),
        );
        // Two servers on one store do not draw the same.
        static SERVERS: AtomicU64 = AtomicU64::new(7);
        let seed = SERVERS.fetch_add(1, Ordering::Relaxed);
        let rng = Rng::new(ChaCha12Rng::seed_from_u64(seed));
        let opened = Box::pin(start::open(config, secrets, clock, rng))
            .await
            .unwrap();
        let app = Arc::new(opened.app);
        // As the jobs do first.
        Box::pin(jobs::clock::look(&app)).await.unwrap();
        let endpoint = Arc::new(renewd::api::endpoint(app.clone()).boxed());
        Self {
            app,
            endpoint,
            millis,
            set,
            dir,
        }
    }

    /// Ends the server; its store stays in the folder.
    pub async fn stop(self) -> TempDir {
        self.app.close().await.unwrap();
        self.dir
    }

    /// Sets the clock, though no time passes.
    pub fn set_clock(&self, seconds: i64) {
        self.set.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// Time passes.
    pub fn advance(&self, seconds: i64) {
        self.millis.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// A second server on the same store.
    pub async fn second_process(&self) -> Self {
        self.second_process_with(|_| ()).await
    }

    /// The same with settings that `change` made.
    pub async fn second_process_with(&self, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = self.app.config.data_dir.clone();
        Self::start_in(dir, |config| {
            config.data_dir = data;
            change(config);
        })
        .await
    }

    /// An app that an earlier server on this store made.
    pub fn known_app(&self, app: &TestApp) -> TestApp {
        TestApp {
            server: self.endpoint.clone(),
            ..app.clone()
        }
    }

    /// A client without a key.
    pub fn anon(&self) -> Client {
        Client::new(self.endpoint.clone())
    }

    /// A client with the root key.
    pub fn root(&self) -> Client {
        self.anon().with_key(ROOT_KEY)
    }

    /// An app of the documented policy: an hour, two hours, refresh tokens good at once.
    pub async fn app(&self) -> TestApp {
        self.app_with(json!({})).await
    }

    /// An app whose policy `changes` differs from the documented one.
    pub async fn app_with(&self, changes: Value) -> TestApp {
        let mut body = new_app();
        for (name, value) in changes.as_object().unwrap() {
            body[name] = value.clone();
        }
        let created = self.root().post("/root/create", body).await;
        assert_eq!(created.status, 200, "{}", created.body);
        TestApp {
            id: created.text("app_id"),
            secret_key: created.text("app_key"),
            publishable_key: created.text("publishable_key"),
            server: self.endpoint.clone(),
        }
    }
}

/// Chooses the embedded store.
pub fn embedded(config: &mut Config) {
    let file = config.data_dir.join("renewd.db");
    config.database_url = format!("sqlite://{}?mode=rwc", file.display());
}

/// The body that makes the app of [`TestServer::app`].
pub fn new_app() -> Value {
    json!({
        "name": "app_2",
        "token_expire": 3600,
        "refresh_expire": 7200,
        "refresh_notbefore": 0,
        "key_type": "ECDSA",
        "algo": "ES256",
        "rotation_period": 86400,
    })
}

/// The body that begins the documented session.
pub fn new_session() -> Value {
    json!({
        "sub": "test@test.com",
        "aud": "web-app",
        "ip": "1.1.1.1",
        "useragent": "my-user-agent",
        "personal": {"name": "test-user"},
    })
}

impl TestApp {
    /// A path of this app.
    pub fn path(&self, rest: &str) -> String {
        format!("/app/{}/{rest}", self.id)
    }

    /// A client with the secret key.
    pub fn backend(&self) -> Client {
        Client::new(self.server.clone()).with_key(&self.secret_key)
    }

    /// A client with the publishable key.
    pub fn front_end(&self) -> Client {
        Client::new(self.server.clone()).with_key(&self.publishable_key)
    }

    /// Begins the documented session.
    pub async fn sign(&self) -> Answer {
        self.sign_with(new_session()).await
    }

    pub async fn sign_with(&self, body: Value) -> Answer {
        let answer = self.backend().post(&self.path("sign"), body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer
    }

    /// Renews as a backend does.
    pub async fn renew(&self, refresh_token: &str) -> Answer {
        let body = json!({
            "refresh_token": refresh_token,
            "ip": "2.2.2.2",
            "useragent": "another-agent",
        });
        self.backend().post(&self.path("renew"), body).await
    }

    /// Whether `token` is good.
    pub async fn verifies(&self, token: &str) -> bool {
        let answer = self
            .backend()
            .post(&self.path("verify"), json!({"token": token}))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["verified"].as_bool().unwrap()
    }

    /// The live sessions of the documented subject.
    pub async fn sessions(&self) -> Vec<Value> {
        let answer = self
            .backend()
            .post(&self.path("get-session"), json!({"sub": "test@test.com"}))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["sessions"].as_array().unwrap().clone()
    }

    /// A client without a key.
    pub fn mobile(&self) -> Client {
        Client::new(self.server.clone())
    }

    /// What a mobile app sends when something happens on the device with this push token.
    pub fn event(&self, push_token: &str, sub: Option<&str>) -> Value {
        json!({
            "tenant_id": self.id,
            "api_key": self.publishable_key,
            "app_user_id": sub,
            "event_name": "app_open",
            "event_time": "2025-02-24T20:57:29+01:00",
            "device_token": push_token,
            "platform": "android",
            "push_permission_granted": true,
            "timezone": "Europe/Berlin",
            "language": "en",
            "country": "DE",
            "session_id": "session_1",
            "params": {"screen": "home"},
        })
    }

    /// Sends it; gives the id of the device.
    pub async fn tell(&self, push_token: &str, sub: Option<&str>) -> String {
        let event = self.event(push_token, sub);
        let answer = self.mobile().post("/events", event).await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
        answer.text("fingerprint")
    }

    /// What a mobile app sends when its push token was replaced.
    pub async fn swap(&self, old: &str, new: &str, sub: Option<&str>) -> Answer {
        let body = json!({
            "tenant_id": self.id,
            "api_key": self.publishable_key,
            "old_token": old,
            "new_token": new,
            "app_user_id": sub,
            "platform": "android",
        });
        self.mobile().post("/devices/refresh-token", body).await
    }

    /// The devices of the app, as a backend lists them.
    pub async fn devices(&self) -> Vec<Value> {
        let answer = self.backend().get(&self.path("devices")).await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
        answer.body["devices"].as_array().unwrap().clone()
    }

    /// The push tokens of a user, as a sender gets them.
    pub async fn push_tokens(&self, sub: &str) -> Vec<String> {
        let path = self.path(&format!("push-targets?sub={sub}"));
        let answer = self.backend().get(&path).await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
        let targets = answer.body["push_targets"].as_array().unwrap();
        let token = |target: &Value| target["push_token"].as_str().unwrap().to_owned();
        targets.iter().map(token).collect()
    }

    /// Ends sessions as a backend does.
    pub async fn logout(&self, body: Value) -> Answer {
        self.backend().post(&self.path("logout"), body).await
    }
}
