//! SCAEM's clients: an application registers, and replaces its own token.

use serde_json::json;

use crate::support::{Answer, TestServer, new_session};

const REGISTER: &str = "/v1/auth/register";
const GENERATE: &str = "/v1/auth/token/generate";
const UPDATE: &str = "/v1/auth/token/update";

/// The documented answer, and nothing else.
#[track_caller]
fn assert_registration(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 200, "{}", answer.raw);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let (id, token) = (
        answer.text("registration_id"),
        answer.text("registration_token"),
    );
    let groups: Vec<_> = id.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12], "{id}");
    assert!(token.starts_with("api_key|rnw_sk_"), "{token}");
    assert_eq!(
        answer.body,
        json!({
            "registration_id": id,
            "registration_token": token,
            "token_expiration": "2026-02-24T19:57:29.25Z",
            "token_type": "Bearer",
        })
    );
    (id, token)
}

/// As documented, from the registration on; the old token fails at once, the registration stays.
#[tokio::test]
async fn an_application_replaces_its_token() {
    let server = TestServer::start().await;
    let app = server.app().await;
    // Clients in the field send more than is documented.
    let body = json!({"project_code": app.id, "undocumented": true});
    let registered = server.root().post(REGISTER, body.clone()).await;
    let (id, first) = assert_registration(&registered);

    let holder = server.anon().with_key(&format!("Bearer {first}"));
    let updated = holder.patch(UPDATE, body.clone()).await;
    let (same_id, second) = assert_registration(&updated);
    assert_eq!(same_id, id);
    assert_ne!(second, first);
    holder
        .patch(UPDATE, body.clone())
        .await
        .assert_problem(403, "invalid_key");

    // It is an app-key like any other, in both spellings.
    let bare = second.strip_prefix("api_key|").unwrap();
    for key in [second.as_str(), bare] {
        let client = server.anon().with_key(key);
        let signed = client.post(&app.path("sign"), new_session()).await;
        assert_eq!(signed.status, 200, "{}", signed.raw);
    }
    let holder = server.anon().with_key(&second);
    let (generated_id, third) = assert_registration(&holder.post(GENERATE, body.clone()).await);
    assert_eq!(generated_id, id);
    // With an overlap both work until its end.
    let overlapping = json!({"project_code": app.id, "overlap": 60});
    let third = server.anon().with_key(&third);
    let (_, fourth) = assert_registration(&third.patch(UPDATE, overlapping).await);
    let sign = async |key: &str| {
        let client = server.anon().with_key(key);
        client.post(&app.path("sign"), new_session()).await.status
    };
    assert_eq!((sign(&second).await, sign(&fourth).await), (200, 200));
    // Who was replaced works until then, and replaces nothing more.
    for overlap in [0, 60, 120] {
        let again = json!({"project_code": app.id, "overlap": overlap});
        third
            .patch(UPDATE, again)
            .await
            .assert_problem(403, "invalid_key");
    }
    server.advance(31_536_000);
    assert_eq!(sign(&fourth).await, 403, "a year is over");
}

/// An overlap that reaches past the token's own end does not prolong it, and does not keep it from being replaced.
#[tokio::test]
async fn a_token_is_replaced_until_its_own_end() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let body = json!({"project_code": app.id});
    let registered = server.root().post(REGISTER, body).await;
    let token = registered.text("registration_token");
    let holder = server.anon().with_key(&token);
    server.advance(31_536_000 - 30);
    let update = json!({"project_code": app.id, "overlap": 60});
    let updated = holder.patch(UPDATE, update).await;
    assert_eq!(updated.status, 200, "{}", updated.raw);
    let sign = async || holder.post(&app.path("sign"), new_session()).await.status;
    assert_eq!(sign().await, 200);
    server.advance(31);
    assert_eq!(sign().await, 403);
}

/// Of many that replace one token at once, one wins.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_updates_wins() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let body = json!({"project_code": app.id});
    let registered = server.root().post(REGISTER, body.clone()).await;
    let token = registered.text("registration_token");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (holder, body) = (server.anon().with_key(&token), body.clone());
        tasks.spawn(async move { holder.patch(UPDATE, body).await.status });
    }
    let mut statuses = tasks.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses[..2], [200, 403]);
}

/// 404 where another endpoint is the right one, and the detail names it; no key reaches another's project.
#[tokio::test]
async fn the_right_endpoint_is_named() {
    let server = TestServer::start().await;
    let (app, other) = (server.app().await, server.app().await);
    let body = json!({"project_code": app.id});
    let foreign = json!({"project_code": other.id});
    let registered = server.root().post(REGISTER, body.clone()).await;
    let holder = server
        .anon()
        .with_key(&registered.text("registration_token"));
    let named = |answer: &Answer, endpoint: &str| {
        answer.assert_problem(404, "not_found");
        assert!(answer.text("detail").contains(endpoint), "{}", answer.raw);
    };
    named(
        &holder.patch(UPDATE, foreign.clone()).await,
        "/v1/auth/register",
    );
    named(&holder.post(GENERATE, foreign).await, "/v1/auth/register");
    // A main key belongs to no application yet.
    named(
        &app.backend().patch(UPDATE, body.clone()).await,
        "/v1/auth/token/generate",
    );
    assert_registration(&app.backend().post(GENERATE, body.clone()).await);

    app.front_end()
        .post(GENERATE, body.clone())
        .await
        .assert_problem(403, "insufficient_key");
    holder
        .post(REGISTER, body.clone())
        .await
        .assert_problem(403, "invalid_key");
    server
        .root()
        .post(GENERATE, body.clone())
        .await
        .assert_problem(403, "invalid_key");
    server
        .anon()
        .patch(UPDATE, body.clone())
        .await
        .assert_problem(403, "invalid_key");
    let unknown = json!({"project_code": "nothing"});
    server
        .root()
        .post(REGISTER, unknown)
        .await
        .assert_problem(404, "not_found");
    server
        .root()
        .post(REGISTER, json!({}))
        .await
        .assert_invalid(&["project_code"]);
    // An application's key is its own: the rotation of the app's main key leaves it alone.
    let path = format!("/root/{}/rotate/key", app.id);
    server.root().post(&path, json!({"overlap": 0})).await;
    assert_registration(&holder.patch(UPDATE, body).await);
}
