//! A server that lost its place as the primary, and has not noticed it, answers reads and commits no write. What is missing there is
//! not refused: it may have been made since, at the primary of now.

use poem::http::Method;
use sea_orm::{DbBackend, EntityTrait};
use serde_json::json;

use crate::support::{TestServer, engine};

#[tokio::test]
async fn a_session_that_is_missing() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let token = app.sign().await.refresh_token();
    let db = &server.app.store.writer;
    entity::session::Entity::delete_many()
        .exec(db)
        .await
        .unwrap();

    engine::poison(db, "BEFORE INSERT", "setting", "not the primary").await;
    let answer = app.renew(&token).await;
    assert!(answer.status >= 500, "{}", answer.raw);
    engine::cure(db, "setting").await;
    let answer = app.renew(&token).await;
    answer.assert_problem(400, "refresh_token_revoked");
}

/// On a server: the embedded store has no other that takes its place, and a token that is wrong costs no write there.
#[tokio::test]
async fn a_registration_that_is_missing() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let path = format!("/workspaces/{}/devices/registration-tokens/create", app.id);
    let body = json!({"deviceId": "sensor", "allowOnBehalfOfRegistration": false});
    let created = app.backend().post(&path, body).await;
    let token = created.text("registrationToken");
    let refresh = async || {
        let path = "/devices/registration-tokens/refresh";
        let body = json!({"registrationToken": token});
        server.anon().send_json(Method::PUT, path, body).await
    };
    let path = app.path("devices/session");
    let exchange = async || {
        let body = json!({"registration_token": token});
        app.front_end().post(&path, body).await
    };
    let db = &server.app.store.writer;
    entity::registration_token::Entity::delete_many()
        .exec(db)
        .await
        .unwrap();

    engine::poison(db, "BEFORE INSERT", "setting", "not the primary").await;
    let is_server = engine::backend() != DbBackend::Sqlite;
    for answer in [refresh().await, exchange().await] {
        assert_eq!(answer.status >= 500, is_server, "{}", answer.raw);
    }
    engine::cure(db, "setting").await;
    for answer in [refresh().await, exchange().await] {
        answer.assert_problem(410, "registration_token_invalid");
    }
}
