//! SmartAppPush's API, as its documentation has it.

use poem::http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, TestServer, new_session};

const JSON: Option<&str> = Some("application/json");
const SWAP: &str = "/devices/refresh-token";

/// The example of the documentation, as it stands.
const DOCUMENTED: &str = r#"{
  "tenant_id": "your_tenant_id",
  "api_key": "your_app_api_key",
  "old_token": "expired_fcm_registration_token",
  "new_token": "fresh_fcm_registration_token",
  "app_user_id": "user_123",
  "platform": "android"
}"#;

fn documented(app: &TestApp) -> String {
    DOCUMENTED
        .replace("your_tenant_id", &app.id)
        .replace("your_app_api_key", &app.publishable_key)
}

async fn send(app: &TestApp, path: &str, body: &str) -> Answer {
    let body = body.to_owned();
    app.mobile().send(Method::POST, path, JSON, body).await
}

#[track_caller]
fn assert_success(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.raw);
    assert_eq!(answer.body, json!({"success": true}));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

/// What is told of a device that an event made.
fn device(id: &str, sub: Option<&str>) -> Value {
    json!({
        "device_id": id,
        "client_device_id": null,
        "sub": sub,
        "platform": "android",
        "push_token_at": "2025-02-24T19:57:29.25Z",
        "push_permission": true,
        "timezone": "Europe/Berlin",
        "language": "en",
        "country": "DE",
        "first_seen_at": "2025-02-24T19:57:29.25Z",
        "last_seen_at": "2025-02-24T19:57:29.25Z",
        "disabled_at": null,
    })
}

#[tokio::test]
async fn the_documented_example_gets_the_documented_answer() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let id = app
        .tell("expired_fcm_registration_token", Some("user_123"))
        .await;
    assert_eq!(app.devices().await, [device(&id, Some("user_123"))]);
    assert_success(&send(&app, SWAP, &documented(&app)).await);
    // Updated in place: no duplicate device, no missed pushes.
    assert_eq!(app.devices().await, [device(&id, Some("user_123"))]);
    let token = "fresh_fcm_registration_token";
    assert_eq!(app.push_tokens("user_123").await, [token]);

    // A secret key will do as well, and members that nobody documented are ignored.
    let more = documented(&app)
        .replace(&app.publishable_key, &app.secret_key)
        .replace('{', r#"{"sdk_version": "1.2.3", "nested": {"a": [1]},"#);
    assert_success(&send(&app, SWAP, &more).await);
    let mut event = app.event(token, None);
    event["sdk"] = json!({"name": "kotlin"});
    event["api_key"] = app.secret_key.clone().into();
    let answer = app.mobile().post("/events", event).await;
    assert_eq!((answer.status, answer.text("fingerprint")), (200, id));
}

/// Each with its documented meaning.
#[tokio::test]
async fn every_documented_error() {
    let server = TestServer::start().await;
    let (app, other) = (server.app().await, server.app().await);
    app.tell("T1", Some("a")).await;
    app.tell("T2", Some("b")).await;
    let with = |name: &str, value: Value| {
        let mut body: Value = serde_json::from_str(&documented(&app)).unwrap();
        body["old_token"] = "T1".into();
        body[name] = value;
        body
    };
    for name in ["old_token", "new_token", "tenant_id", "api_key"] {
        for wrong in [
            Value::Null,
            "".into(),
            5.into(),
            "\0".into(),
            "x".repeat(5000).into(),
        ] {
            let answer = app.mobile().post(SWAP, with(name, wrong)).await;
            answer.assert_invalid(&[name]);
        }
    }
    for (name, wrong) in [("app_user_id", json!("")), ("platform", json!("windows"))] {
        let answer = app.mobile().post(SWAP, with(name, wrong)).await;
        answer.assert_invalid(&[name]);
    }
    let equal = app.swap("T1", "T1", None).await;
    equal.assert_invalid(&["new_token"]);

    for (name, wrong) in [
        ("tenant_id", "your_tenant_id"),
        ("tenant_id", "01JMWRJEJ71191KP88NDGWVYEW"),
        ("tenant_id", &other.id),
        ("api_key", "your_app_api_key"),
        ("api_key", &other.publishable_key),
        ("api_key", "rnw_pk_\u{e9}"),
    ] {
        let body = with(name, wrong.into());
        for (path, mut body) in [(SWAP, body), ("/events", app.event("T1", None))] {
            body[name] = wrong.into();
            let answer = app.mobile().post(path, body).await;
            answer.assert_problem(401, "invalid_key");
            assert_eq!(answer.header("www-authenticate"), Some("Api-Key"));
        }
    }
    app.swap("unknown", "T3", None)
        .await
        .assert_problem(404, "not_found");
    // Known, and of another app.
    other
        .swap("T1", "T3", None)
        .await
        .assert_problem(404, "not_found");
    for sub in [Some("a"), Some("c"), None] {
        let conflict = app.swap("T1", "T2", sub).await;
        conflict.assert_problem(409, "conflict");
    }
    // Of nobody that is known, without a word of who it is.
    app.tell("T0", None).await;
    let conflict = app.swap("T0", "T2", None).await;
    conflict.assert_problem(409, "conflict");
    // Nothing of all that changed anything.
    assert_eq!(app.push_tokens("a").await, ["T1"]);
    assert_eq!(app.push_tokens("b").await, ["T2"]);
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(70_000));
    send(&app, SWAP, &large)
        .await
        .assert_problem(413, "body_too_large");
    send(&app, SWAP, "{")
        .await
        .assert_problem(400, "malformed_json");
    let media = Some("text/plain");
    let mobile = app.mobile();
    let answer = mobile.send(Method::POST, SWAP, media, documented(&app));
    answer.await.assert_problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn a_bad_event_names_everything_that_is_wrong() {
    let server = TestServer::start().await;
    let app = server.app().await;
    for name in [
        "tenant_id",
        "api_key",
        "event_name",
        "event_time",
        "device_token",
        "platform",
        "push_permission_granted",
        "timezone",
        "language",
        "country",
        "session_id",
    ] {
        let mut event = app.event("T1", None);
        event.as_object_mut().unwrap().remove(name);
        let answer = app.mobile().post("/events", event).await;
        answer.assert_invalid(&[name]);
    }
    for (name, wrong) in [
        ("event_time", json!("2025-02-24T20:57:29")),
        ("event_time", json!(1_740_427_049)),
        ("timezone", json!("+02:00")),
        ("language", json!("english")),
        ("language", json!("e1")),
        ("country", json!("Germany")),
        ("country", json!("1A")),
        ("push_permission_granted", json!("yes")),
        ("params", json!([])),
        ("params", json!({"a": "x".repeat(16 * 1024)})),
        ("params", json!({"a": [[[[[[[[]]]]]]]]})),
        ("tenant_id", json!("x".repeat(256))),
        ("api_key", json!("x".repeat(256))),
        ("app_user_id", json!("x".repeat(256))),
        ("app_user_id", json!("device:a")),
        ("event_name", json!("x".repeat(256))),
        ("event_time", json!("x".repeat(65))),
        ("device_token", json!("x".repeat(4097))),
        ("session_id", json!("x".repeat(256))),
        ("timezone", json!("x".repeat(65))),
    ] {
        let mut event = app.event("T1", None);
        event[name] = wrong.clone();
        let answer = app.mobile().post("/events", event).await;
        assert_eq!(answer.status, 400, "{name} {wrong}");
        answer.assert_invalid(&[name]);
    }
    let mut event = app.event("T1", None);
    event["timezone"] = "here or there".into();
    event["language"] = "--".into();
    event["country"] = "--".into();
    event["event_time"] = "now".into();
    let answer = app.mobile().post("/events", event).await;
    answer.assert_invalid(&["timezone", "language", "country", "event_time"]);
    assert_eq!(app.devices().await, [] as [Value; 0]);
}

/// The snippet of the documentation: what `onNewToken` does, with its local storage.
struct Phone {
    app: TestApp,
    stored: Option<String>,
}

impl Phone {
    /// Gives the answer, if the old token was known.
    async fn on_new_token(&mut self, new: &str) -> Option<Answer> {
        let old = self.stored.replace(new.to_owned());
        match old.filter(|old| old != new) {
            Some(old) => Some(self.post(&old, new).await),
            None => None,
        }
    }

    async fn post(&self, old: &str, new: &str) -> Answer {
        let json = json!({
            "tenant_id": self.app.id,
            "api_key": self.app.publishable_key,
            "old_token": old,
            "new_token": new,
            "platform": "android",
        });
        self.app.mobile().post(SWAP, json).await
    }
}

#[tokio::test]
async fn the_life_of_a_phone() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let mut phone = Phone {
        app: app.clone(),
        stored: None,
    };
    // Installed: there is no old token yet, and an event creates the device.
    assert!(phone.on_new_token("T1").await.is_none());
    let id = app.tell("T1", None).await;
    // Its user signs in, and is known from the next event on.
    assert_eq!(app.tell("T1", Some("user_123")).await, id);
    assert_eq!(app.devices().await, [device(&id, Some("user_123"))]);

    assert_success(&phone.on_new_token("T2").await.unwrap());
    assert_eq!(app.tell("T2", Some("user_123")).await, id);
    // The same again is nothing new.
    assert!(phone.on_new_token("T2").await.is_none());

    // The answer is lost on its way, and the phone tries again; also when it has a new token by then.
    assert_success(&phone.on_new_token("T3").await.unwrap());
    assert_success(&phone.post("T2", "T3").await);
    server.advance(100_000);
    assert_success(&phone.post("T2", "T3").await);
    assert_success(&phone.on_new_token("T4").await.unwrap());
    phone
        .post("T2", "T3")
        .await
        .assert_problem(404, "not_found");
    // An event that was on its way for long is one of the same device, and brings no old token back.
    assert_eq!(app.tell("T3", Some("user_123")).await, id);
    assert_eq!(app.push_tokens("user_123").await, ["T4"]);

    // Installed anew: storage is empty, so an event creates the device.
    phone.stored = None;
    assert!(phone.on_new_token("T5").await.is_none());
    let again = app.tell("T5", Some("user_123")).await;
    assert_ne!(again, id);
    // FCM tells the sender that the old installation is gone.
    let body = json!({"unregistered": ["T4"]});
    let answer = app.backend().post(&app.path("push-feedback"), body).await;
    assert_eq!(
        answer.body,
        json!({"status": "ok", "dropped": 1, "revoked": 0})
    );
    assert_eq!(app.push_tokens("user_123").await, ["T5"]);
}

/// An event with the new token was faster than the swap.
#[tokio::test]
async fn two_records_of_one_user_merge_and_the_older_goes() {
    let server = TestServer::start().await;
    let app = server.app().await;
    for (old_sub, new_sub, told) in [
        (Some("a"), Some("a"), None),
        (Some("a"), Some("a"), Some("a")),
        (Some("a"), Some("b"), Some("b")),
        (Some("a"), None, None),
        (None, Some("b"), Some("b")),
        (None, None, None),
        (None, None, Some("a")),
    ] {
        let old = app.tell("T1", old_sub).await;
        // A device of two users is one if nobody is signed in on the one that goes.
        let is_used = old_sub.is_some() && new_sub.is_none_or(|new| Some(new) == old_sub);
        if let (true, Some(user)) = (is_used, old_sub) {
            let mut session = new_session();
            session["device_id"] = old.clone().into();
            session["sub"] = user.into();
            app.sign_with(session).await;
        }
        server.advance(100);
        let new = app.tell("T2", new_sub).await;
        assert_ne!(old, new);
        for _ in 0..2 {
            assert_success(&app.swap("T1", "T2", told).await);
            let merged = app.devices().await;
            assert_eq!(merged.len(), 1, "{merged:?}");
            // What is in use stays, else the younger one.
            let kept = if is_used { &old } else { &new };
            assert_eq!(merged[0]["device_id"], **kept);
            let case = format!("{old_sub:?} {new_sub:?} {told:?}");
            assert_eq!(
                merged[0]["sub"],
                json!(new_sub.or(old_sub).or(told)),
                "{case}"
            );
            assert_ne!(merged[0]["first_seen_at"], merged[0]["push_token_at"]);
        }
        let kept = if is_used { &old } else { &new };
        let path = app.path(&format!("devices/{kept}/revoke"));
        let answer = app.backend().post(&path, Value::Null).await;
        let expected = json!({"status": "ok", "revoked": u64::from(is_used)});
        assert_eq!(answer.body, expected);
        let path = app.path(&format!("devices/{kept}"));
        assert_eq!(app.backend().delete(&path).await.status, 200);
    }
}

/// The phone changed hands: messages for one do not reach the other.
#[tokio::test]
async fn a_push_token_has_the_user_that_was_told_last() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let id = app.tell("T1", Some("a")).await;
    assert_eq!(app.tell("T1", Some("b")).await, id);
    assert_eq!(app.push_tokens("a").await, [] as [String; 0]);
    assert_eq!(app.push_tokens("b").await, ["T1"]);
    // An anonymous event does not say that it has none.
    assert_eq!(app.tell("T1", None).await, id);
    assert_eq!(app.push_tokens("b").await, ["T1"]);
    // In another app the same token is another device's.
    let other = server.app().await;
    assert_ne!(other.tell("T1", Some("a")).await, id);
    assert_eq!(app.devices().await.len(), 1);
}

/// A browser is heard from the app's own pages only, when it uses the key that everybody has.
#[tokio::test]
async fn pages_of_other_origins_are_not_heard() {
    let server = TestServer::start().await;
    let own = "https://app.example.com";
    let app = server.app_with(json!({"allowed_origins": [own]})).await;
    for (origin, status) in [(own, 200), ("https://evil.example", 403)] {
        let page = app.mobile().with_header("origin", origin);
        let preflight = page
            .clone()
            .with_header("access-control-request-method", "POST");
        let answer = preflight.send(Method::OPTIONS, "/events", None, "").await;
        assert_eq!(answer.status, 204);
        // What it would be allowed is not known before the app is.
        let allow = "access-control-allow-origin";
        assert_eq!(answer.header(allow), Some(origin));

        let answer = page.post("/events", app.event("T1", None)).await;
        assert_eq!(answer.status, status, "{}", answer.raw);
        assert_eq!(answer.header(allow), (status == 200).then_some(origin));
        assert_eq!(answer.header("vary"), Some("Origin"));
        let mut refused = app.event("T1", None);
        refused["timezone"] = "?".into();
        let answer = page.post("/events", refused).await;
        assert_eq!(answer.header(allow), (status == 200).then_some(origin));
    }
    let mut secret = app.event("T1", None);
    secret["api_key"] = app.secret_key.clone().into();
    let page = app.mobile().with_header("origin", "https://evil.example");
    let answer = page.post("/events", secret).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
