//! A device begins a session by its registration token.

use std::sync::Arc;

use entity::registration_token;
use serde_json::{Value, json};
use tokio::{sync::Barrier, task::JoinSet};

use super::{
    DEVICE, GRACE, SUBJECT, assert_gone, assert_refreshed, at, create, create_with, disable,
    refresh, registration,
};
use crate::support::{Answer, Client, TestApp, TestServer, decode};

fn body(token: &str) -> Value {
    json!({"registration_token": token})
}

async fn begin_as(client: &Client, app: &TestApp, body: Value) -> Answer {
    client.post(&app.path("devices/session"), body).await
}

async fn begin(server: &TestServer, app: &TestApp, token: &str) -> Answer {
    begin_as(&server.anon(), app, body(token)).await
}

async fn sessions(app: &TestApp) -> Vec<Value> {
    let path = app.path("get-session");
    let listed = app.backend().post(&path, json!({"sub": SUBJECT})).await;
    listed.body["sessions"].as_array().unwrap().clone()
}

/// A whole session: it is the device's, it is renewed as any other, and the registration token stays what it is.
#[tokio::test]
async fn a_registration_token_begins_a_session_of_the_device() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let mut new = registration(DEVICE);
    new["audiences"] = json!(["telemetry"]);
    let token = create_with(&app, new).await.text("registrationToken");
    let device = server
        .anon()
        .with_header("user-agent", "thermostat/1.2")
        .with_header("authorization", "DeviceToken none");
    let mut asked = body(&token);
    asked["aud"] = json!("telemetry");
    let begun = begin_as(&device, &app, asked).await;
    assert_eq!(begun.status, 200, "{}", begun.raw);
    assert_eq!(begun.header("cache-control"), Some("no-store"));
    let members: Vec<_> = begun.body.as_object().unwrap().keys().collect();
    let signed = app.sign().await;
    let expected: Vec<_> = signed.body.as_object().unwrap().keys().collect();
    assert_eq!(members, expected, "as of any other session");

    let (_, claims) = decode(&begun.auth_token());
    let expected = json!({
        "iss": "app_2", "sub": SUBJECT, "aud": "telemetry",
        "iat": 1_740_427_049, "nbf": 1_740_427_049, "exp": 1_740_430_649,
        "jid": claims["jid"], "jti": claims["jid"], "sid": begun.text("session_id"),
        "ip": "203.0.113.7", "useragent": "thermostat/1.2",
    });
    assert_eq!(claims, expected);
    assert!(app.verifies(&begun.auth_token()).await);
    let listed = sessions(&app).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["session_id"], begun.body["session_id"]);
    let device_id: entity::DeviceId = listed[0]["device_id"].as_str().unwrap().parse().unwrap();
    let row = entity::device::find(&server.app.store.reader, device_id).await;
    assert_eq!(row.unwrap().unwrap().client_id.as_deref(), Some(DEVICE));

    let renew = json!({"refresh_token": begun.refresh_token()});
    let renewed = app.front_end().post(&app.path("renew"), renew).await;
    assert_eq!(renewed.status, 200, "{}", renewed.raw);
    assert_eq!(decode(&renewed.auth_token()).1["sub"], SUBJECT);

    assert_eq!(begin(&server, &app, &token).await.status, 200);
    let child = assert_refreshed(&refresh(&server, &token).await, 201, Value::Null);
    // Whoever lost the answer to a refresh signs in all the same.
    for good in [&token, &child] {
        assert_eq!(begin(&server, &app, good).await.status, 200);
    }
    server.advance(GRACE);
    assert_gone(&begin(&server, &app, &token).await, "invalid");
    assert_eq!(begin(&server, &app, &child).await.status, 200);
}

/// The body is checked as on every surface of ours, and what is not known is refused: a device has no claims of its choice.
#[tokio::test]
async fn the_body_is_checked() {
    let server = TestServer::start().await;
    let (app, other) = (server.app().await, server.app().await);
    let token = create(&app, DEVICE).await;
    for (change, fields) in [
        (json!({"registration_token": null}), "registration_token"),
        (json!({"registration_token": ""}), "registration_token"),
        (json!({"registration_token": 1}), "registration_token"),
        (json!({"aud": ""}), "aud"),
        (json!({"aud": []}), "aud"),
        (json!({"ip": "here"}), "ip"),
        (json!({"useragent": "x".repeat(1025)}), "useragent"),
        (json!({"sub": "test@test.com"}), "sub"),
        (json!({"personal": {}}), "personal"),
        (json!({"role": "admin"}), "role"),
        (json!({"registrationToken": "a"}), "registrationToken"),
    ] {
        let mut body = body(&token);
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = begin_as(&server.anon(), &app, body).await;
        answer.assert_invalid(&[fields]);
    }
    let none = app
        .path("devices/session")
        .replace(&app.id, &app.id.to_lowercase());
    let none = server.anon().post(&none, body(&token)).await;
    none.assert_problem(404, "not_found");
    assert_gone(&begin(&server, &other, &token).await, "invalid");
    assert_gone(&begin(&server, &app, "garbage").await, "invalid");
    assert_gone(&begin(&server, &app, &app.secret_key).await, "invalid");
    assert!(sessions(&app).await.is_empty());

    // The audience is the app, where none is set, and the address that of the connection, whatever the body says.
    let stated = json!({"registration_token": token, "ip": "::1", "useragent": "a"});
    let begun = begin_as(&server.anon(), &app, stated).await;
    let (_, claims) = decode(&begun.auth_token());
    let found = [&claims["aud"], &claims["ip"], &claims["useragent"]];
    assert_eq!(found, [app.id.as_str(), "203.0.113.7", ""]);
}

/// What ends a registration ends this, too; uses are counted together.
#[tokio::test]
async fn it_is_refused_as_a_refresh_is() {
    let server = TestServer::start_with(|config| config.registration_refreshes_per_hour = 3).await;
    let app = server.app().await;
    let mut expiring = registration(DEVICE);
    expiring["expirationTime"] = json!(at(60));
    let token = create_with(&app, expiring).await.text("registrationToken");
    for _ in 0..2 {
        assert_eq!(begin(&server, &app, &token).await.status, 200);
    }
    server.advance(60);
    assert_gone(&begin(&server, &app, &token).await, "expired");

    let token = create(&app, DEVICE).await;
    let token = assert_refreshed(&refresh(&server, &token).await, 201, Value::Null);
    let refused = begin(&server, &app, &token).await;
    refused.assert_problem(412, "too_many_refreshes");
    assert_eq!(refused.header("retry-after"), Some("3540"));
    assert_eq!(sessions(&app).await.len(), 2);
    disable(&app, true).await;
    let refused = begin(&server, &app, &token).await;
    refused.assert_problem(403, "device_disabled");
    assert!(sessions(&app).await.is_empty());
    disable(&app, false).await;
    assert_gone(&begin(&server, &app, &token).await, "revoked");

    let token = create(&app, DEVICE).await;
    server.advance(3600);
    let path = format!("/root/{}/flush", app.id);
    assert_eq!(server.root().delete(&path).await.status, 200);
    assert_gone(&begin(&server, &app, &token).await, "revoked");
    let path = format!("/root/{}", app.id);
    server.root().delete(&path).await;
    let deleted = begin(&server, &app, &token).await;
    deleted.assert_problem(404, "not_found");
}

/// After a registration was ended, no session of it is left, whoever was first.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_races_the_end_of_its_registration() {
    let server = Arc::new(TestServer::start().await);
    let app = server.app().await;
    let db = &server.app.store.writer;
    for round in 0..10 {
        let token = create(&app, DEVICE).await;
        let id = token[7..33].parse().unwrap();
        let row = registration_token::find(db, id).await.unwrap().unwrap();
        let start = Arc::new(Barrier::new(5));
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            let (server, app, start) = (server.clone(), app.clone(), start.clone());
            let token = token.clone();
            tasks.spawn(async move {
                start.wait().await;
                begin(&server, &app, &token).await
            });
        }
        start.wait().await;
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        // It stays known, or is forgotten.
        let path = app.path(&format!("devices/{}", row.device_id));
        let ended = match round % 3 {
            0 => app.backend().delete(&path).await,
            _ => {
                let path = format!("{path}/revoke");
                app.backend().post(&path, Value::Null).await
            }
        };
        assert_eq!(ended.status, 200, "round {round}: {}", ended.raw);
        for answer in tasks.join_all().await {
            if answer.status != 200 {
                assert_gone(&answer, "revoked");
            }
        }
        assert!(sessions(&app).await.is_empty(), "round {round}");
    }
}

/// The backend says what the sessions of a device are for and claim; the device says nothing of it.
#[tokio::test]
async fn audiences_and_claims_are_those_of_the_registration_and_the_policy() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let mut new = registration(DEVICE);
    new["audiences"] = json!(["telemetry", "updates"]);
    new["claims"] = json!({"tenant": "plant-7", "personal": {"line": 3}, "roles": ["sensor"]});
    let created = create_with(&app, new).await;
    assert_eq!(created.status, 200, "{}", created.raw);
    let first = created.text("registrationToken");
    let token = assert_refreshed(&refresh(&server, &first).await, 201, Value::Null);
    let bare = create(&app, "bare").await;

    // What is asked for, and what is got: with no policy, and with one.
    let refused = Value::Null;
    for (policy, asked, of_own, of_bare) in [
        (
            json!([]),
            refused.clone(),
            json!("telemetry"),
            json!(app.id),
        ),
        (
            json!([]),
            json!("updates"),
            json!("updates"),
            refused.clone(),
        ),
        (
            json!([]),
            json!(["updates", "telemetry"]),
            json!(["updates", "telemetry"]),
            refused.clone(),
        ),
        (
            json!([]),
            json!(["updates", "admin"]),
            refused.clone(),
            refused.clone(),
        ),
        (
            json!([]),
            json!("web-app"),
            refused.clone(),
            refused.clone(),
        ),
        (json!([]), json!(app.id), refused.clone(), json!(app.id)),
        (json!([]), json!("app_2"), refused.clone(), refused.clone()),
        (
            json!(["logs", "alarms"]),
            refused.clone(),
            json!("telemetry"),
            json!("logs"),
        ),
        (
            json!(["logs", "alarms"]),
            json!("alarms"),
            json!("alarms"),
            json!("alarms"),
        ),
        (
            json!(["logs", "alarms"]),
            json!(["alarms"]),
            json!(["alarms"]),
            json!(["alarms"]),
        ),
        (
            json!(["logs", "alarms"]),
            json!("updates"),
            json!("updates"),
            refused.clone(),
        ),
        (
            json!(["logs", "alarms"]),
            json!(app.id),
            refused.clone(),
            refused.clone(),
        ),
    ] {
        let path = format!("/root/{}", app.id);
        let changed = server
            .root()
            .patch(&path, json!({"device_audiences": policy}))
            .await;
        assert_eq!(changed.status, 200);
        for (token, expected) in [(&token, of_own), (&bare, of_bare)] {
            let mut body = body(token);
            body["aud"] = asked.clone();
            let begun = begin_as(&server.anon(), &app, body).await;
            if expected.is_null() {
                begun.assert_problem(403, "audience_not_allowed");
                continue;
            }
            assert_eq!(begun.status, 200, "{asked}: {}", begun.raw);
            assert_eq!(decode(&begun.auth_token()).1["aud"], expected, "{asked}");
        }
    }

    // The claims are carried by every token, and by those that follow.
    let begun = begin(&server, &app, &token).await;
    let renew = json!({"refresh_token": begun.refresh_token()});
    let renewed = app.front_end().post(&app.path("renew"), renew).await;
    for answer in [&begun, &renewed] {
        let (_, claims) = decode(&answer.auth_token());
        let found = [
            &claims["sub"],
            &claims["tenant"],
            &claims["personal"],
            &claims["roles"],
        ];
        let expected = [
            json!(SUBJECT),
            json!("plant-7"),
            json!({"line": 3}),
            json!(["sensor"]),
        ];
        assert_eq!(found.map(Clone::clone), expected);
    }
    // A registration that is made anew has what it is given then.
    let again = create(&app, DEVICE).await;
    let (_, claims) = decode(&begin(&server, &app, &again).await.auth_token());
    assert_eq!(
        (&claims["aud"], claims.get("tenant")),
        (&json!("logs"), None)
    );
}

/// What a backend gives a registration has the rules of what it gives a session.
#[tokio::test]
async fn claims_and_audiences_have_limits() {
    let server = TestServer::start().await;
    let app = server.app().await;
    for (change, field) in [
        (json!({"claims": []}), "claims"),
        (json!({"claims": {"iss": "a"}}), "claims.iss"),
        (json!({"claims": {"exp": 1}}), "claims.exp"),
        (json!({"claims": {"sid": "a"}}), "claims.sid"),
        (json!({"claims": {"jti": "a"}}), "claims.jti"),
        (json!({"claims": {"type": "a"}}), "claims.type"),
        (json!({"claims": {"sub": "admin"}}), "claims.sub"),
        (json!({"claims": {"aud": "admin"}}), "claims.aud"),
        (json!({"claims": {"ip": "::1"}}), "claims.ip"),
        (json!({"claims": {"useragent": "a"}}), "claims.useragent"),
        (json!({"claims": {"device_id": "a"}}), "claims.device_id"),
        (json!({"claims": {"personal": "a"}}), "claims.personal"),
        (json!({"claims": {"a": "x".repeat(16 * 1024)}}), "claims"),
        (json!({"audiences": "a"}), "audiences"),
        (json!({"audiences": [""]}), "audiences"),
        (json!({"audiences": ["a\nb"]}), "audiences"),
        (json!({"audiences": ["x".repeat(256)]}), "audiences"),
        (json!({"audiences": vec!["a"; 51]}), "audiences"),
        (json!({"deviceId": "x".repeat(249)}), "deviceId"),
    ] {
        let mut body = registration(DEVICE);
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        create_with(&app, body).await.assert_invalid(&[field]);
    }
    let longest = "x".repeat(248);
    let token = create(&app, &longest).await;
    let (_, claims) = decode(&begin(&server, &app, &token).await.auth_token());
    assert_eq!(claims["sub"], format!("device:{longest}"));
}

/// What another process has forbidden the devices of an app is forbidden here at once.
#[tokio::test]
async fn an_audience_that_was_forbidden_elsewhere_is_not_allowed() {
    let server = TestServer::start().await;
    let other = server.second_process().await;
    let app = server
        .app_with(json!({"device_audiences": ["updates"]}))
        .await;
    let created = create_with(&app, registration(DEVICE)).await;
    let mut asked = body(&created.text("registrationToken"));
    asked["aud"] = json!("updates");
    let begun = begin_as(&server.anon(), &app, asked.clone()).await;
    assert_eq!(begun.status, 200, "{}", begun.raw);
    let store = &server.app.store;
    server.app.directory.follow(store).await.unwrap();
    let known = server.app.load(app.id.parse().unwrap()).await.unwrap();
    assert!(known.is_some(), "it is in memory");
    let path = format!("/root/{}", app.id);
    let changes = json!({"device_audiences": ["others"]});
    let changed = other.root().patch(&path, changes).await;
    assert_eq!(changed.status, 200, "{}", changed.raw);
    let refused = begin_as(&server.anon(), &app, asked).await;
    refused.assert_problem(403, "audience_not_allowed");
}
