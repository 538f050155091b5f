//! An app that another process has flushed or deleted a moment ago, of which this one has not heard: what is good is taken
//! here, what is dead is not.

use poem::http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, TestServer};

const REFRESH: &str = "/devices/registration-tokens/refresh";
const CHECK: &str = "/web/json/plugin/com.kinnara.kecakplugins.mobileapi.CheckTokenApi/service";
const UPDATE: &str = "/web/json/plugin/com.kinnara.kecakplugins.mobileapi.RefreshTokenApi/service";

/// Two servers on one store, and an app that the first one has in memory.
struct Two {
    here: TestServer,
    there: TestServer,
    app: TestApp,
}

impl Two {
    async fn start() -> Self {
        let here = TestServer::start().await;
        let there = here.second_process().await;
        let app = here.app().await;
        app.sign().await;
        Self { here, there, app }
    }

    /// Changes the app there; here it is in memory as it was.
    async fn change(&self, change: &str) {
        let directory = &self.here.app.directory;
        directory.follow(&self.here.app.store).await.unwrap();
        self.app.sessions().await;
        let id = self.app.id.parse().unwrap();
        assert!(directory.known(id).is_some(), "it is in memory");
        let path = format!("/root/{}{change}", self.app.id);
        let done = self.there.root().delete(&path).await;
        assert_eq!(done.status, 200, "{}", done.raw);
    }

    async fn register_there(&self, device: &str) -> String {
        let app = self.there.known_app(&self.app);
        register(&app, device).await
    }

    async fn refresh(&self, token: &str) -> Answer {
        let body = json!({"registrationToken": token});
        let client = self.here.anon();
        client.send_json(Method::PUT, REFRESH, body).await
    }

    async fn exchange(&self, token: &str) -> Answer {
        let body = json!({"registration_token": token});
        let path = self.app.path("devices/session");
        self.app.front_end().post(&path, body).await
    }
}

async fn register(app: &TestApp, device: &str) -> String {
    let path = format!("/workspaces/{}/devices/registration-tokens/create", app.id);
    let body = json!({"deviceId": device, "allowOnBehalfOfRegistration": true});
    let created = app.backend().post(&path, body).await;
    assert_eq!(created.status, 200, "{}", created.raw);
    created.text("registrationToken")
}

#[tokio::test]
async fn a_registration_that_was_made_after_it_is_good_here() {
    let two = Two::start().await;
    two.change("/flush").await;
    let token = two.register_there("first").await;
    let refreshed = two.refresh(&token).await;
    assert_eq!(refreshed.status, 201, "{}", refreshed.raw);

    two.change("/flush").await;
    let token = two.register_there("second").await;
    let session = two.exchange(&token).await;
    assert_eq!(session.status, 200, "{}", session.raw);
}

/// From the answer on nothing is written by it at any node.
#[tokio::test]
async fn a_registration_that_was_made_before_it_is_dead_here() {
    for (change, status, code) in [
        ("/flush", 410, "registration_token_revoked"),
        ("", 403, "app_disabled"),
    ] {
        let two = Two::start().await;
        let token = register(&two.app, "device").await;
        two.change(change).await;
        let before = registrations(&two.here).await;
        two.refresh(&token).await.assert_problem(status, code);
        assert_eq!(registrations(&two.here).await, before);
    }
}

async fn registrations(server: &TestServer) -> String {
    use sea_orm::EntityTrait;
    let all = entity::registration_token::Entity::find();
    format!("{:?}", all.all(&server.app.store.reader).await.unwrap())
}

#[tokio::test]
async fn a_session_that_was_signed_after_it_is_good_here() {
    let two = Two::start().await;
    let signed = async || {
        two.change("/flush").await;
        two.there.known_app(&two.app).sign().await
    };
    assert!(two.app.verifies(&signed().await.auth_token()).await);
    assert!(two.app.verifies(&signed().await.refresh_token()).await);

    let session = signed().await;
    let listed = two.app.sessions().await;
    let listed: Vec<&Value> = listed.iter().map(|one| &one["session_id"]).collect();
    assert_eq!(listed, [&session.body["session_id"]]);

    for (method, path) in [(Method::GET, CHECK), (Method::PUT, UPDATE)] {
        let session = signed().await;
        let phone = two.app.mobile();
        let phone = phone
            .with_header("authorization", &session.auth_token())
            .with_header("referer", "https://kecak.kinnarastudio.com");
        let body = json!({"fcm_token": "token", "device_id": "device"}).to_string();
        let answer = phone
            .send(method, path, Some("application/json"), body)
            .await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.raw);
    }
}

/// What is dead is not changed.
#[tokio::test]
async fn a_session_that_was_signed_before_it_is_dead_here() {
    let two = Two::start().await;
    let session = two.app.sign().await;
    let id = session.text("session_id");
    two.change("/flush").await;
    let path = two.app.path(&format!("sessions/{id}"));
    let changed = two.app.backend().patch(&path, json!({"role": "a"})).await;
    changed.assert_problem(404, "not_found");
}
