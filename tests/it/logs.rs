//! The log: a line a request, and nothing in it that is secret or personal.

use serde_json::json;

use crate::support::{Capture, ROOT_KEY, TestServer, engine, new_session};

/// At the lowest level, of all libraries too, with tokens and keys sent to where they do not belong.
#[tokio::test]
async fn no_token_key_or_claim_is_in_any_log_line() {
    let captured = Capture::start();

    let server = TestServer::start().await;
    let app = server.app().await;
    let first = app.sign().await;
    let second = app.renew(&first.refresh_token()).await;
    app.renew(&first.refresh_token()).await;
    app.verifies(&second.auth_token()).await;
    app.sessions().await;
    app.backend()
        .patch(
            &app.path(&format!("sessions/{}", first.text("session_id"))),
            json!({"personal": {"name": "test-user"}}),
        )
        .await;
    app.logout(json!({"sub": "test@test.com"})).await;
    let create = format!("/workspaces/{}/devices/registration-tokens/create", app.id);
    let device = json!({"deviceId": "test-user", "allowOnBehalfOfRegistration": false});
    let registration = app.backend().post(&create, device).await;
    let registration = registration.text("registrationToken");
    for _ in 0..2 {
        let body = json!({"registration_token": registration});
        let path = app.path("devices/session");
        server.anon().post(&path, body.clone()).await;
        server
            .anon()
            .with_key(&registration)
            .post(&path, body)
            .await;
    }
    let mut wrong = new_session();
    wrong["iss"] = json!("test-user");
    app.backend().post(&app.path("sign"), wrong).await;
    let anon = server.anon();
    anon.get(&format!("/{}?key={}", app.secret_key, ROOT_KEY))
        .await;
    anon.get(&app.path(&first.refresh_token())).await;
    anon.clone()
        .with_key(&first.refresh_token())
        .post(
            &app.path("renew"),
            json!({"refresh_token": second.auth_token()}),
        )
        .await;
    anon.clone()
        .with_header("x-request-id", &second.refresh_token())
        .get("/ping")
        .await;
    anon.clone()
        .with_header("x-request-id", &app.secret_key)
        .get("/ping")
        .await;
    let (push_token, next) = ("push-token-0123456789", "next-token-0123456789");
    app.tell(push_token, Some("test@test.com")).await;
    app.swap(push_token, next, None).await;
    app.swap(push_token, "other-token-0123456789", None).await;
    app.push_tokens("test-user").await;
    anon.clone()
        .with_header("referer", "https://test-user/")
        .with_key(&first.auth_token())
        .get("/web/json/plugin/com.kinnara.kecakplugins.mobileapi.CheckTokenApi/service")
        .await;
    // The cause of a failure is logged, and must not bring along what it was about.
    engine::poison(&server.app.store.writer, "BEFORE UPDATE", "session", "no").await;
    let third = app.sign().await;
    app.renew(&third.refresh_token())
        .await
        .assert_problem(500, "internal");
    engine::cure(&server.app.store.writer, "session").await;
    engine::poison(&server.app.store.writer, "BEFORE UPDATE", "device", "no").await;
    app.swap(next, push_token, None)
        .await
        .assert_problem(500, "internal");

    let log = captured.text();
    assert!(log.contains("request failed"), "the failure is logged");
    assert!(log.contains("refresh token reused"), "the reuse is logged");
    for (what, secret) in [
        ("root key", ROOT_KEY.to_owned()),
        ("push token", push_token.to_owned()),
        ("next push token", next.to_owned()),
        ("secret key", app.secret_key.clone()),
        ("publishable key", app.publishable_key.clone()),
        ("auth token", first.auth_token()),
        ("refresh token", first.refresh_token()),
        ("renewed auth token", second.auth_token()),
        ("renewed refresh token", second.refresh_token()),
        ("registration token", registration),
    ] {
        assert!(!log.contains(&secret), "{what}");
        let tail = &secret[secret.len() - 16..];
        assert!(!log.contains(tail), "the end of a {what}");
    }
    for claim in [
        "test@test.com",
        "test-user",
        "my-user-agent",
        "another-agent",
        "1.1.1.1",
        "2.2.2.2",
    ] {
        assert!(!log.contains(claim), "{claim}");
    }
}

/// In the form for machines.
#[tokio::test]
async fn each_request_has_one_line() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let captured = Capture::start();

    app.backend()
        .with_header("x-request-id", "from-the-client")
        .get(&app.path("pub-keys"))
        .await;
    server.anon().get("/nowhere").await;

    let log = captured.text();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["level"] == "INFO")
        .collect();
    assert_eq!(lines.len(), 2, "{log}");
    for (line, name, expected) in [
        (0, "message", json!("request")),
        (0, "level", json!("INFO")),
        (0, "method", json!("GET")),
        (0, "route", json!("/app/{app_id}/pub-keys")),
        (0, "status", json!(200)),
        (0, "request_id", json!("from-the-client")),
        (0, "app_id", json!(app.id)),
        (1, "route", json!("-")),
        (1, "status", json!(404)),
        (1, "app_id", json!(null)),
    ] {
        assert_eq!(lines[line][name], expected, "{name}");
    }
    assert!(lines[0]["duration_us"].is_u64());
}
