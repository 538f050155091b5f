//! Many at once: of any number that present one token, one wins; and a logout is the end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use renewd::sessions::{row::Row, statements};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Answer, TestApp, TestServer, decode};

/// Many present one token at once; one wins, and the session is revoked as reused.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_without_grace() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let first = app.sign().await;

    let answers = present_at_once(&app, &first.refresh_token(), 200).await;
    let (won, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!((won.len(), refused.len()), (1, 199));
    for answer in refused {
        answer.assert_refused("refresh_token_used");
    }

    assert!(app.sessions().await.is_empty());
    app.renew(&won[0].refresh_token())
        .await
        .assert_refused("refresh_token_revoked");
    assert!(!app.verifies(&won[0].auth_token()).await);
    assert_eq!(revocation(&server, &first).await.as_deref(), Some("reuse"));
}

/// Within the grace all get the same successor, and nothing is revoked.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_within_the_grace() {
    let server = TestServer::start().await;
    let app = server.app_with(json!({"refresh_grace": 10})).await;
    let first = app.sign().await;

    let answers = present_at_once(&app, &first.refresh_token(), 200).await;
    let claims: Vec<Value> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 200, "{}", answer.raw);
            let (_, auth) = decode(&answer.auth_token());
            let (_, refresh) = decode(&answer.refresh_token());
            assert_eq!(auth["jid"], refresh["jid"]);
            json!([auth, refresh])
        })
        .collect();
    assert!(claims.iter().all(|one| *one == claims[0]), "one successor");

    let live = app.sessions().await;
    assert_eq!(live.len(), 1);
    assert_eq!(live[0]["renewals"], 1);
    assert_eq!(live[0]["token_id"], claims[0][0]["jid"]);
    assert_eq!(revocation(&server, &first).await, None);
    // Whichever answer a tab kept, it goes on.
    let next = app.renew(&answers[199].refresh_token()).await;
    assert_eq!(next.status, 200, "{}", next.raw);
}

/// After a logout was answered, nothing renews, whoever was first.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_logout_is_answered_nothing_renews() {
    let server = TestServer::start().await;
    for grace in [0, 10] {
        let app = server.app_with(json!({"refresh_grace": grace})).await;
        let (mut renewed_first, rounds) = (0, 60);
        for round in 0..rounds {
            let first = app.sign().await;
            let (token, session) = (first.refresh_token(), first.text("session_id"));
            let renewing = tokio::spawn({
                let app = app.clone();
                let token = token.clone();
                async move { app.renew(&token).await }
            });
            // The renewal is first in a third of the rounds, and in the others whichever comes first.
            match round % 3 {
                0 => {
                    while !renewing.is_finished() {
                        tokio::task::yield_now().await;
                    }
                }
                1 => tokio::task::yield_now().await,
                _ => {}
            }
            let ended = app.logout(json!({"session_id": session})).await;
            assert_eq!(ended.body, json!({"status": "ok", "revoked": 1}));
            let raced = renewing.await.unwrap();
            if raced.status == 200 {
                renewed_first += 1;
                app.renew(&raced.refresh_token())
                    .await
                    .assert_refused("refresh_token_revoked");
                assert!(!app.verifies(&raced.auth_token()).await);
            } else {
                raced.assert_refused("refresh_token_revoked");
            }
            let late = app.renew(&token).await;
            assert_eq!(late.status, 400, "{}", late.raw);
        }
        assert!(renewed_first >= rounds / 3, "{renewed_first}");
    }
}

/// The guard itself: whoever read the row before another wrote it changes nothing, of no row.
#[tokio::test]
async fn a_stale_row_is_not_written_over() {
    use entity::session::{self, Revocation, Target};

    let server = TestServer::start().await;
    let app = server.app().await;
    let (first, app_id) = (app.sign().await, app.id.parse().unwrap());
    let id = first.text("session_id").parse().unwrap();
    let other = app.sign().await.text("session_id").parse().unwrap();
    let db = &server.app.store.writer;
    let find = async |id| session::find_in(db, app_id, id).await.unwrap().unwrap();
    let (read, other) = (find(id).await, find(other).await);
    let advance = |row: &session::Model, token: &str| {
        let mut row = Row::new(row.clone());
        row.session.token_id = token.parse().unwrap();
        row.session.ip = "2001:db8::1".to_owned();
        row.session.parent_id = Some(read.token_id);
        row.session.parent_until = Some(read.expires_at);
        row
    };
    let next = advance(&read, "01JMWRJEJ71191KP88NDGWVYE1");
    assert!(write(&server, &[&next]).await);
    assert_eq!(find(id).await, next.session);
    // A row that would fit is not written either.
    let other_next = advance(&other, "01JMWRJEJ71191KP88NDGWVYE2");
    assert!(!write(&server, &[&other_next, &next]).await);
    assert_eq!(find(other.id).await, other);

    let third = advance(&next.session, "01JMWRJEJ71191KP88NDGWVYE3");
    assert!(write(&server, &[&other_next, &third]).await);
    assert_eq!(find(other.id).await, other_next.session);
    assert_eq!(find(id).await, third.session);

    let now = server.app.clock.now();
    let target = Target::Session(id);
    assert_eq!(
        session::revoke_in(db, app_id, 0, &target, Revocation::Logout, now).await,
        Ok(1)
    );
    let fourth = advance(&third.session, "01JMWRJEJ71191KP88NDGWVYE4");
    assert!(!write(&server, &[&fourth]).await);
    assert_eq!(
        session::revoke_in(db, app_id, 0, &target, Revocation::Logout, now).await,
        Ok(0)
    );
}

async fn write(server: &TestServer, rows: &[&Row]) -> bool {
    let transaction = server.app.store.begin().await.unwrap();
    let written = statements::advance(&transaction, rows).await.unwrap();
    if written {
        transaction.commit().await.unwrap();
    } else {
        transaction.rollback().await.unwrap();
    }
    written
}

async fn present_at_once(app: &TestApp, token: &str, count: usize) -> Vec<Answer> {
    let start = Arc::new(tokio::sync::Barrier::new(count));
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (app, token, start) = (app.clone(), token.to_owned(), start.clone());
        tasks.spawn(async move {
            start.wait().await;
            app.renew(&token).await
        });
    }
    tasks.join_all().await
}

/// Why the store says that the session of `answer` was revoked.
async fn revocation(server: &TestServer, answer: &Answer) -> Option<String> {
    use sea_orm::EntityTrait;
    let id: entity::SessionId = answer.text("session_id").parse().unwrap();
    let found = entity::session::Entity::find_by_id(id);
    let row = found.one(&server.app.store.reader).await.unwrap().unwrap();
    assert_eq!(row.revoked_at.is_some(), row.revoked_for.is_some());
    row.revoked_for.map(entity::session::Revocation::name)
}

/// A client that goes away before it is answered has its token still: nobody has the one that would have followed.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_went_away_has_its_token_still() {
    let server = TestServer::start().await;
    let app = server.app().await;
    let mut token = app.sign().await.refresh_token();
    let mut gone = 0;
    for round in 0..200u64 {
        let patience = Duration::from_micros(round * 37 % 4000);
        let renewal = tokio::time::timeout(patience, app.renew(&token)).await;
        token = match renewal {
            Ok(answer) => answer.refresh_token(),
            Err(_) => {
                gone += 1;
                let began = Instant::now();
                loop {
                    let answer = app.renew(&token).await;
                    if answer.status == 200 {
                        break answer.refresh_token();
                    }
                    // What became of it is not known yet.
                    assert_eq!(answer.status, 503, "round {round}: {}", answer.raw);
                    assert!(began.elapsed() < Duration::from_secs(10), "round {round}");
                }
            }
        };
    }
    assert!(gone > 10, "{gone}");
    let sessions = app.sessions().await;
    assert_eq!(sessions[0]["renewals"], 200);
}
