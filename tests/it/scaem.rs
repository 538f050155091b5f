//! SCAEM's clients: an application registers, and replaces its own token.

use entity::{AppKeyId, PlainSecret, app_key};
use renewd::apps::keys;
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel};
use serde_json::json;

use crate::support::{Answer, TestApp, TestServer, new_session};

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

/// Registers an application; gives its token.
async fn register(server: &TestServer, app: &TestApp) -> String {
    let body = json!({"project_code": app.id});
    let registered = server.root().post(REGISTER, body).await;
    assert_eq!(registered.status, 200, "{}", registered.raw);
    registered.text("registration_token")
}

/// The status of a `sign` with this key.
async fn sign(server: &TestServer, app: &TestApp, key: &str) -> u16 {
    let client = server.anon().with_key(key);
    client.post(&app.path("sign"), new_session()).await.status
}

/// The id of the key that is inside.
fn id_of(token: &str) -> AppKeyId {
    let key = token.strip_prefix("api_key|").unwrap_or(token);
    PlainSecret::from_text(key).parse().unwrap().1
}

/// The tokens of applications that are live.
async fn live(server: &TestServer) -> usize {
    let rows = app_key::Entity::find().all(&server.app.store.reader).await;
    let now = server.app.clock.now();
    let rows = rows.unwrap().into_iter();
    rows.filter(|row| row.application_id.is_some() && row.is_live(now))
        .count()
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
    // A generated one takes its place, too, at once.
    let holder = server.anon().with_key(&second);
    let (generated_id, third) = assert_registration(&holder.post(GENERATE, body.clone()).await);
    assert_eq!(generated_id, id);
    for refused in [
        holder.post(&app.path("sign"), new_session()).await,
        holder.post(GENERATE, body.clone()).await,
        holder.patch(UPDATE, body.clone()).await,
    ] {
        refused.assert_problem(403, "invalid_key");
    }
    // With an overlap both work until its end.
    let overlapping = json!({"project_code": app.id, "overlap": 60});
    let holder = server.anon().with_key(&third);
    let (_, fourth) = assert_registration(&holder.patch(UPDATE, overlapping).await);
    let sign = async |key: &str| sign(&server, &app, key).await;
    assert_eq!((sign(&third).await, sign(&fourth).await), (200, 200));
    // Who was replaced works until then, and makes no other one any more.
    for overlap in [0, 60, 120] {
        let again = json!({"project_code": app.id, "overlap": overlap});
        let refused = holder.patch(UPDATE, again.clone()).await;
        refused.assert_problem(403, "invalid_key");
        let refused = holder.post(GENERATE, again).await;
        refused.assert_problem(403, "invalid_key");
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

/// Of many that replace one token at once, in either way, one wins, and the application has the token of that one only.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_wins() {
    // All of them by the one way, then every other one by it.
    for share in [1, 2] {
        let server = TestServer::start().await;
        let app = server.app().await;
        let token = register(&server, &app).await;
        let mut tasks = tokio::task::JoinSet::new();
        for turn in 0..20 {
            let holder = server.anon().with_key(&token);
            let body = json!({"project_code": app.id});
            tasks.spawn(async move {
                if turn % share == 0 {
                    holder.post(GENERATE, body).await
                } else {
                    holder.patch(UPDATE, body).await
                }
            });
        }
        let answers = tasks.join_all().await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!(won.len(), 1);
        for refused in lost {
            refused.assert_problem(403, "invalid_key");
        }
        let (_, current) = assert_registration(won[0]);
        assert_eq!(sign(&server, &app, &token).await, 403);
        assert_eq!(sign(&server, &app, &current).await, 200);
        assert_eq!(live(&server).await, 1);
    }
}

/// A token that was replaced with an overlap works until then, or until its successor is replaced in turn: there are no more
/// than two.
#[tokio::test]
async fn nothing_but_the_token_before_outlives_a_replacement() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let sign = async |key: &str| sign(&server, &app, key).await;
    let first = register(&server, &app).await;
    let overlapping = json!({"project_code": app.id, "overlap": 86400});
    let replace = async |token: &str| {
        let holder = server.anon().with_key(token);
        let updated = holder.patch(UPDATE, overlapping.clone()).await;
        assert_eq!(updated.status, 200, "{}", updated.raw);
        updated.text("registration_token")
    };
    let second = replace(&first).await;
    assert_eq!((sign(&first).await, sign(&second).await), (200, 200));
    let third = replace(&second).await;
    assert_eq!((sign(&second).await, sign(&third).await), (200, 200));
    assert_eq!(sign(&first).await, 403);
    // Without an overlap nothing is left but the new one.
    let holder = server.anon().with_key(&third);
    let generated = holder.post(GENERATE, overlapping.clone()).await;
    let fourth = generated.text("registration_token");
    assert_eq!(sign(&fourth).await, 200);
    for ended in [first, second, third] {
        assert_eq!(sign(&ended).await, 403);
    }
}

/// A thief who has replaced the token has nothing for long: whichever token of the application the administrator revokes, also
/// the one that the thief has replaced, all of them end; and those of no other application.
#[tokio::test]
async fn an_application_ends_with_any_of_its_tokens() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let sign = async |key: &str| sign(&server, &app, key).await;
    let other = register(&server, &app).await;
    for overlap in [0, 600] {
        let first = register(&server, &app).await;
        let thief = server.anon().with_key(&first);
        let body = json!({"project_code": app.id, "overlap": overlap});
        let stolen = thief.patch(UPDATE, body.clone()).await;
        let stolen = stolen.text("registration_token");
        assert_eq!(sign(&stolen).await, 200);
        let path = format!("/root/{}/keys/{}", app.id, id_of(&first));
        assert_eq!(server.root().delete(&path).await.status, 200);
        assert_eq!((sign(&first).await, sign(&stolen).await), (403, 403));
        let thief = server.anon().with_key(&stolen);
        let refused = thief.post(GENERATE, body).await;
        refused.assert_problem(403, "invalid_key");
        let again = server.root().delete(&path).await;
        again.assert_problem(404, "not_found");
    }
    assert_eq!(sign(&other).await, 200);
}

/// Whoever replaces the main secret key at once does so because something leaked: the applications are registered anew then. A
/// rotation with an overlap, and one of another kind or app, concerns none of them.
#[tokio::test]
async fn a_rotation_without_an_overlap_ends_the_applications() {
    let server = TestServer::start().await;
    let (app, other) = (server.app().await, server.app().await);
    let (token, elsewhere) = (
        register(&server, &app).await,
        register(&server, &other).await,
    );
    let rotate = async |body: serde_json::Value| {
        let path = format!("/root/{}/rotate/key", app.id);
        let rotated = server.root().post(&path, body).await;
        assert_eq!(rotated.status, 200, "{}", rotated.raw);
    };
    rotate(json!({})).await;
    rotate(json!({"overlap": 1})).await;
    rotate(json!({"overlap": 0, "kind": "publishable"})).await;
    assert_eq!(sign(&server, &app, &token).await, 200);
    rotate(json!({"overlap": 0})).await;
    assert_eq!(sign(&server, &app, &token).await, 403);
    let holder = server.anon().with_key(&token);
    let refused = holder.patch(UPDATE, json!({"project_code": app.id})).await;
    refused.assert_problem(403, "invalid_key");
    assert_eq!(sign(&server, &other, &elsewhere).await, 200);
    let anew = register(&server, &app).await;
    assert_eq!(sign(&server, &app, &anew).await, 200);
}

/// The release before let an application have any number of tokens: the first of them that is replaced ends the rest.
#[tokio::test]
async fn the_tokens_of_the_release_before_become_one() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let token = register(&server, &app).await;
    let db = &server.app.store.writer;
    let rows = app_key::Entity::find().all(db).await.unwrap();
    let mut row = rows.into_iter().find(|row| row.application_id.is_some());
    let row = row.as_mut().unwrap();
    let mut more = Vec::new();
    for number in 1..4 {
        row.id = row.id.next();
        let secret = server.app.rng.with(|rng| {
            let kind = entity::SecretKind::Secret;
            PlainSecret::generate(kind, row.id, rng)
        });
        row.hash = secret.hash();
        row.clone().into_active_model().insert(db).await.unwrap();
        server.app.directory.drop_all();
        assert_eq!(sign(&server, &app, secret.reveal()).await, 200, "{number}");
        more.push(secret);
    }
    let holder = server.anon().with_key(&token);
    let updated = holder.patch(UPDATE, json!({"project_code": app.id})).await;
    assert_registration(&updated);
    for old in more {
        assert_eq!(sign(&server, &app, old.reveal()).await, 403);
    }
    assert_eq!(live(&server).await, 1);
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
    // Whoever has another key of the app makes none that outlives it.
    for key in [&app.secret_key, &app.publishable_key] {
        let client = server.anon().with_key(key);
        for refused in [
            client.post(GENERATE, body.clone()).await,
            client.patch(UPDATE, body.clone()).await,
        ] {
            refused.assert_problem(403, "insufficient_key");
            assert!(refused.text("detail").contains("/v1/auth/register"));
        }
    }

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
    assert_registration(&holder.patch(UPDATE, body).await);
}

/// A secret key that was stolen does not become another one: what is made with it ends with it, when it is replaced for good.
#[tokio::test]
async fn a_stolen_key_does_not_outlive_its_replacement() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let thief = app.backend();
    let body = json!({"project_code": app.id});
    let stolen = thief.post(GENERATE, body).await;
    stolen.assert_problem(403, "insufficient_key");
    let path = format!("/root/{}/rotate/key", app.id);
    server.root().post(&path, json!({"overlap": 0})).await;
    let keys = server.root().get(&format!("/root/{}/keys", app.id)).await;
    let live = keys.body["keys"].as_array().unwrap().iter();
    let live = live.filter(|key| key["kind"] == "secret" && key["expires_at"].is_null());
    assert_eq!(live.count(), 1, "{}", keys.raw);
}

/// A project has so many live tokens and no more; who has one replaces it all the same.
#[tokio::test]
async fn a_project_has_an_end_of_tokens() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let body = json!({"project_code": app.id});
    let registered = server.root().post(REGISTER, body.clone()).await;
    let token = registered.text("registration_token");
    let holder = server.anon().with_key(&token);
    let db = &server.app.store.writer;
    let rows = app_key::Entity::find().all(db).await.unwrap();
    let held = rows.iter().find(|row| row.application_id.is_some());
    let mut row = held.unwrap().clone();
    for number in 1..keys::MOST_OF_APPLICATIONS {
        row.id = row.id.next();
        row.application_id = Some(format!("another application {number}"));
        row.hash = PlainSecret::from_text(&row.id.to_string()).hash();
        row.clone().into_active_model().insert(db).await.unwrap();
    }
    let overlapping = json!({"project_code": app.id, "overlap": 60});
    for full in [
        server.root().post(REGISTER, body.clone()).await,
        holder.patch(UPDATE, overlapping).await,
    ] {
        full.assert_problem(409, "limit_reached");
        assert!(full.text("detail").contains("1000"), "{}", full.raw);
    }
    let (_, token) = assert_registration(&holder.patch(UPDATE, body.clone()).await);
    let holder = server.anon().with_key(&token);
    assert_registration(&holder.post(GENERATE, body).await);
}
