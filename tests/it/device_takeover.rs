//! Nobody becomes another subject by way of a device, and nobody takes another's device by naming it.

use poem::http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestApp, TestServer, decode, new_session};

const KECAK: &str = "/web/json/plugin/com.kinnara.kecakplugins.mobileapi.RefreshTokenApi/service";
const CHECK: &str = "/web/json/plugin/com.kinnara.kecakplugins.mobileapi.CheckTokenApi/service";
const ADMIN: &str = "admin@shop.com";

async fn register(app: &TestApp, device: &str) -> String {
    let path = format!("/workspaces/{}/devices/registration-tokens/create", app.id);
    let body = json!({"deviceId": device, "allowOnBehalfOfRegistration": false});
    let created = app.backend().post(&path, body).await;
    assert_eq!(created.status, 200, "{}", created.raw);
    created.text("registrationToken")
}

async fn exchange(app: &TestApp, token: &str) -> Answer {
    let body = json!({"registration_token": token});
    app.mobile().post(&app.path("devices/session"), body).await
}

async fn refreshes(app: &TestApp, token: &str) -> Answer {
    let body = json!({"registrationToken": token});
    let path = "/devices/registration-tokens/refresh";
    app.mobile().send_json(Method::PUT, path, body).await
}

/// Reports a push token and a name as Kecak Mobile does.
async fn report(app: &TestApp, auth: &str, push_token: &str, name: &str) -> Answer {
    let client = app
        .mobile()
        .with_header("authorization", auth)
        .with_header("referer", "https://app.example.com");
    let body = json!({"fcm_token": push_token, "device_id": name});
    client.send_json(Method::PUT, KECAK, body).await
}

async fn sign_as(app: &TestApp, sub: &str) -> Answer {
    let mut session = new_session();
    session["sub"] = sub.into();
    app.sign_with(session).await
}

async fn sign_on(app: &TestApp, sub: &str, device: &str) -> Answer {
    let mut session = new_session();
    session["sub"] = sub.into();
    session["device_id"] = device.into();
    app.sign_with(session).await
}

/// The ids of the user's devices, the newest first.
async fn devices_of(app: &TestApp, sub: &str) -> Vec<String> {
    let path = app.path(&format!("devices?sub={sub}"));
    let listed = app.backend().get(&path).await;
    let devices = listed.body["devices"].as_array().unwrap();
    let id = |device: &Value| device["device_id"].as_str().unwrap().to_owned();
    devices.iter().map(id).collect()
}

async fn revoke(app: &TestApp, device: &str) -> Answer {
    let path = app.path(&format!("devices/{device}/revoke"));
    app.backend().post(&path, Value::Null).await
}

async fn lives(app: &TestApp, session: &Answer) -> bool {
    app.renew(&session.refresh_token()).await.status == 200
}

/// With one registration token and the key that everybody has, a device names an administrator, lets its rows be made one by
/// a swap of push tokens, and asks for a session again. Whatever of it is refused: it is the same device afterwards.
#[tokio::test]
async fn a_device_does_not_become_an_administrator() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let token = register(&app, "sensor-1").await;
    let first = exchange(&app, &token).await;
    assert_eq!(first.status, 200, "{}", first.raw);
    let auth = first.auth_token();
    // The rows for the swap, under every name that a caller could give them.
    let mut named = Vec::new();
    for (push_token, name) in [("T0", "sensor-1"), ("T1", ADMIN)] {
        named.push(report(&app, &auth, push_token, name).await);
    }
    for sub in [Some("sensor-1"), Some("device:sensor-1"), Some(ADMIN), None] {
        for push_token in ["T0", "T1"] {
            let event = app.event(push_token, sub);
            app.mobile().post("/events", event).await;
        }
        app.swap("T0", "T1", sub).await;
        app.swap("T1", "T0", sub).await;
        let again = exchange(&app, &token).await;
        assert_eq!(again.status, 200, "{}", again.raw);
        let (_, claims) = decode(&again.auth_token());
        assert_eq!(claims["sub"], "device:sensor-1", "{sub:?}");
        assert_eq!(claims["aud"], app.id.as_str());
    }
    for answer in named {
        answer.assert_problem(403, "user_session_required");
    }
    let client = app
        .mobile()
        .with_header("authorization", &auth)
        .with_header("referer", "https://app.example.com");
    let checked = client.get(CHECK).await;
    checked.assert_problem(403, "user_session_required");

    // Nor does it choose for whom its tokens are.
    let body = json!({"registration_token": token, "aud": "admin-console"});
    let chosen = app.mobile().post(&app.path("devices/session"), body).await;
    chosen.assert_problem(403, "audience_not_allowed");
    // What it did is no trace: its registration goes on.
    assert_eq!(refreshes(&app, &token).await.status, 201);
}

/// A registration has its namespace to itself.
#[tokio::test]
async fn nobody_else_is_called_as_a_registered_device() {
    let server = TestServer::start().await;
    let app = server.app().await;
    register(&app, "sensor-1").await;
    let mut session = new_session();
    for sub in ["device:sensor-1", "device:", "device:a user"] {
        session["sub"] = sub.into();
        let answer = app.backend().post(&app.path("sign"), session.clone()).await;
        answer.assert_invalid(&["sub"]);
        let answer = app
            .mobile()
            .post("/events", app.event("T", Some(sub)))
            .await;
        answer.assert_invalid(&["app_user_id"]);
        app.swap("T", "T2", Some(sub))
            .await
            .assert_invalid(&["app_user_id"]);
    }
    for sub in ["device", "Device:sensor-1", "a device:sensor-1"] {
        sign_as(&app, sub).await;
    }
    // A user of that name meets no device of that name.
    let user = sign_as(&app, "sensor-1").await;
    let answer = report(&app, &user.auth_token(), "T", "sensor-1").await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    assert_eq!(app.devices().await.len(), 2);
}

/// Two users call their phones by one name: each has one.
#[tokio::test]
async fn a_name_is_one_of_its_own_subject() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let (alice, mallory) = (sign_as(&app, "alice").await, sign_as(&app, "mallory").await);
    report(&app, &alice.auth_token(), "TA", "phone").await;
    let answer = report(&app, &mallory.auth_token(), "TM", "phone").await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    assert_eq!(app.push_tokens("alice").await, ["TA"]);
    assert_eq!(app.push_tokens("mallory").await, ["TM"]);

    // What is done to one is not done to the other.
    let theirs = devices_of(&app, "mallory").await;
    assert_eq!(theirs.len(), 1);
    assert_eq!(revoke(&app, &theirs[0]).await.body["revoked"], 1);
    assert!(lives(&app, &alice).await);
    assert!(!lives(&app, &mallory).await);
    assert_eq!(app.push_tokens("alice").await, ["TA"]);
}

/// Whoever presents the very push token has it; the device, its list, and its sessions stay their user's.
#[tokio::test]
async fn a_push_token_that_is_presented_moves_alone() {
    let server = TestServer::start().await;
    let app = server.app().await;
    // Named, or known by its token alone and in use.
    let alice = sign_as(&app, "alice").await;
    report(&app, &alice.auth_token(), "TA", "phone").await;
    let nameless = app.tell("TB", Some("alice")).await;
    let on_it = sign_on(&app, "alice", &nameless).await;
    let before = devices_of(&app, "alice").await;
    for push_token in ["TA", "TB"] {
        let mallory = sign_as(&app, "mallory").await;
        let id = app.tell(push_token, Some("mallory")).await;
        assert!(!before.contains(&id));
        assert_eq!(app.push_tokens("mallory").await, [push_token]);
        let answer = report(&app, &mallory.auth_token(), push_token, "phone").await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
        for device in devices_of(&app, "mallory").await {
            revoke(&app, &device).await;
        }
    }
    assert_eq!(devices_of(&app, "alice").await, before);
    assert!(lives(&app, &alice).await);
    assert!(lives(&app, &on_it).await);
    // She presents them in her turn.
    report(&app, &alice.auth_token(), "TA", "phone").await;
    app.tell("TB", Some("alice")).await;
    let mut tokens = app.push_tokens("alice").await;
    tokens.sort();
    assert_eq!(tokens, ["TA", "TB"]);
}

/// At Kecak's, too: the name that goes with it is of the presenter's own device, and nothing of the other one becomes a part of
/// that.
#[tokio::test]
async fn a_push_token_that_is_reported_takes_no_device() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let hers = app.tell("TA", Some("alice")).await;
    let session = sign_on(&app, "alice", &hers).await;
    let mallory = sign_as(&app, "mallory").await;
    for push_token in ["TM", "TA"] {
        let answer = report(&app, &mallory.auth_token(), push_token, "phone").await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
    }
    assert_eq!(app.push_tokens("mallory").await, ["TA"]);
    assert_eq!(devices_of(&app, "alice").await, [hers]);
    for device in devices_of(&app, "mallory").await {
        revoke(&app, &device).await;
    }
    assert!(lives(&app, &session).await);
}

/// A swap says that one push token followed another, not whose sessions and devices these are.
#[tokio::test]
async fn a_swap_moves_nothing_to_another_subject() {
    let server = TestServer::start().await;
    let app = server.app().await;
    for told in [Some("mallory"), None] {
        let hers = app.tell("T1", Some("alice")).await;
        let session = sign_on(&app, "alice", &hers).await;
        let theirs = app.tell("T2", told).await;
        app.swap("T1", "T2", Some("mallory")).await;
        revoke(&app, &theirs).await;
        assert!(lives(&app, &session).await, "{told:?}");
        let listed = devices_of(&app, "alice").await;
        assert!(listed.contains(&hers), "{told:?} {listed:?}");
        for device in app.devices().await {
            let path = app.path(&format!(
                "devices/{}",
                device["device_id"].as_str().unwrap()
            ));
            assert_eq!(app.backend().delete(&path).await.status, 200);
        }
    }
}

/// Two names are two devices, whatever push tokens are swapped.
#[tokio::test]
async fn devices_of_two_names_do_not_become_one() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let (one, two) = (sign_as(&app, "alice").await, sign_as(&app, "alice").await);
    report(&app, &one.auth_token(), "T1", "phone").await;
    report(&app, &two.auth_token(), "T2", "tablet").await;
    let before = devices_of(&app, "alice").await;
    assert_eq!(before.len(), 2);
    assert_eq!(app.swap("T1", "T2", Some("alice")).await.status, 200);
    assert_eq!(devices_of(&app, "alice").await, before);
    assert_eq!(app.push_tokens("alice").await, ["T2"]);
    // The one that has the token ends with its own session alone.
    let devices = app.devices().await;
    let tablet = devices
        .iter()
        .find(|device| device["client_device_id"] == "tablet");
    let tablet = tablet.unwrap()["device_id"].as_str().unwrap();
    assert_eq!(revoke(&app, tablet).await.body["revoked"], 1);
    assert!(lives(&app, &one).await);
}

/// A page renews its session, and says that it is on somebody else's device.
#[tokio::test]
async fn a_page_does_not_take_a_device_by_its_id() {
    let server = TestServer::start().await;
    let app = server.app().await;
    register(&app, "sensor-1").await;
    let sensor = app.devices().await[0]["device_id"].clone();
    let hers = app.tell("TA", Some("alice")).await;
    let alice = sign_on(&app, "alice", &hers).await;
    let mallory = sign_as(&app, "mallory").await;
    let renew = async |token: String, device: &str| {
        let body = json!({"refresh_token": token, "device_id": device});
        app.front_end().post(&app.path("renew"), body).await
    };
    for device in [hers.as_str(), sensor.as_str().unwrap()] {
        let refused = renew(mallory.refresh_token(), device).await;
        refused.assert_problem(403, "device_of_another");
    }
    assert_eq!(app.push_tokens("alice").await, ["TA"]);
    assert_eq!(devices_of(&app, "alice").await, [&*hers]);
    // That used up nothing, and a device of nobody may be told.
    let unknown = app.tell("TM", None).await;
    let renewed = renew(mallory.refresh_token(), &unknown).await;
    assert_eq!(renewed.status, 200, "{}", renewed.raw);
    assert_eq!(devices_of(&app, "mallory").await, [&*unknown]);
    assert!(lives(&app, &alice).await);
}

/// Whoever has a session that is to end with its device does not carry it to another device.
#[tokio::test]
async fn a_session_does_not_leave_its_device() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let phone = app.tell("T", Some("alice")).await;
    let stolen = sign_on(&app, "alice", &phone).await;
    let token = register(&app, "sensor-1").await;
    let sensor = exchange(&app, &token).await;
    let device = devices_of(&app, "device:sensor-1").await.remove(0);
    let body = |session: &Answer| json!({"refresh_token": session.refresh_token(), "device_id": "01JMWRJEJ71191KP88NDGWVYEX"});
    let mut renewed = Vec::new();
    for session in [&stolen, &sensor] {
        let answer = app
            .front_end()
            .post(&app.path("renew"), body(session))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
        renewed.push(answer);
    }
    report(&app, &renewed[0].auth_token(), "T3", "a phone").await;
    report(&app, &renewed[0].auth_token(), "T3", "another phone").await;
    for (device, session) in [
        (phone.as_str(), &renewed[0]),
        (device.as_str(), &renewed[1]),
    ] {
        assert_eq!(revoke(&app, device).await.body["revoked"], 1, "{device}");
        assert!(!lives(&app, session).await);
    }
}

/// A device cannot end another one's registration.
#[tokio::test]
async fn a_registration_outlives_what_other_devices_say() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let victim = register(&app, "sensor-1").await;
    let other = register(&app, "sensor-2").await;
    let session = exchange(&app, &victim).await;
    let auth = exchange(&app, &other).await.auth_token();
    let user = sign_as(&app, "sensor-1").await.auth_token();
    for token in [&auth, &user] {
        // Both rows come to be of whoever names them, and one by the swap.
        report(&app, token, "T1", "sensor-1").await;
        report(&app, token, "T2", "sensor-2").await;
        app.swap("T1", "T2", None).await;
        app.swap("T2", "T1", None).await;
        for sub in ["sensor-1", "sensor-2"] {
            for push_token in ["T1", "T2"] {
                app.tell(push_token, Some(sub)).await;
            }
            app.swap("T1", "T2", Some(sub)).await;
            app.swap("T2", "T1", Some(sub)).await;
        }
    }
    assert!(lives(&app, &session).await);
    assert_eq!(refreshes(&app, &victim).await.status, 201);
    assert_eq!(refreshes(&app, &other).await.status, 201);
}

/// A backend says who is at a device. One that is registered stays itself; another one becomes that user's, without its name.
#[tokio::test]
async fn a_backend_ties_users_to_devices() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let token = register(&app, "gate").await;
    let gate = devices_of(&app, "device:gate").await.remove(0);
    let at_gate = sign_on(&app, "alice", &gate).await;
    assert_eq!(devices_of(&app, "device:gate").await, [&*gate]);
    let (_, claims) = decode(&exchange(&app, &token).await.auth_token());
    assert_eq!(claims["sub"], "device:gate");
    assert_eq!(revoke(&app, &gate).await.body["revoked"], 2);
    assert!(!lives(&app, &at_gate).await);

    let alice = sign_as(&app, "alice").await;
    report(&app, &alice.auth_token(), "TA", "phone").await;
    let phone = devices_of(&app, "alice").await.remove(0);
    let bob = sign_on(&app, "bob", &phone).await;
    assert_eq!(app.push_tokens("bob").await, ["TA"]);
    assert_eq!(devices_of(&app, "alice").await, [] as [String; 0]);
    // Each calls theirs so from now on, and has what they present.
    for (session, push_token) in [(&bob, "TB"), (&alice, "TA")] {
        let answer = report(&app, &session.auth_token(), push_token, "phone").await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
    }
    assert_eq!(devices_of(&app, "bob").await, [&*phone]);
    assert_eq!(app.push_tokens("bob").await, ["TB"]);
    assert_eq!(app.push_tokens("alice").await, ["TA"]);
}
