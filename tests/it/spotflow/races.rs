//! Many at once: of all tokens of a device, one is live.

use std::sync::Arc;

use entity::registration_token;
use rand::{RngExt, SeedableRng, rngs::ChaCha12Rng};
use sea_orm::EntityTrait;
use serde_json::json;
use tokio::{sync::Barrier, task::JoinSet};

use super::{
    DEVICE, assert_gone, assert_refreshed, count, create, create_path, create_with, refresh,
    refresh_as, registration,
};
use crate::support::{Answer, Client, TestServer};

/// Each of these presents a token, all at once.
async fn at_once(clients: Vec<(Client, String)>) -> Vec<(String, Answer)> {
    let start = Arc::new(Barrier::new(clients.len()));
    let mut tasks = JoinSet::new();
    for (client, token) in clients {
        let start = start.clone();
        tasks.spawn(async move {
            start.wait().await;
            let answer = refresh_as(&client, &token).await;
            (token, answer)
        });
    }
    tasks.join_all().await
}

/// The tokens of these that the store knows as a current one.
async fn live(server: &TestServer, tokens: &[String]) -> Vec<String> {
    let rows = registration_token::Entity::find();
    let rows = rows.all(&server.app.store.reader).await.unwrap();
    let is_live = |token: &&String| {
        let hash = entity::PlainSecret::from_text(token).hash();
        rows.iter().any(|row| row.current_hash == hash)
    };
    tokens.iter().filter(is_live).cloned().collect()
}

/// One makes the token a parent; for the others it is one, and each replaces the child of the one before.
#[tokio::test(flavor = "multi_thread")]
async fn many_present_one_token_at_once() {
    let server = TestServer::start().await;
    for (grace, accepted) in [(60, 20), (0, 1)] {
        let app = server.app_with(json!({"registration_grace": grace})).await;
        let first = create(&app, DEVICE).await;
        let clients = (0..20).map(|_| (server.anon(), first.clone())).collect();
        let answers = at_once(clients).await;
        let mut statuses: Vec<_> = answers.iter().map(|(_, answer)| answer.status).collect();
        statuses.sort_unstable();
        let (good, rest) = statuses.split_at(accepted);
        assert!(rest.iter().all(|status| *status == 410), "{statuses:?}");
        assert_eq!(good.iter().filter(|status| **status == 201).count(), 1);
        let tokens: Vec<_> = answers
            .iter()
            .filter(|(_, answer)| answer.status < 400)
            .map(|(_, answer)| answer.text("registrationToken"))
            .collect();
        assert_eq!(tokens.len(), accepted);
        let live = live(&server, &tokens).await;
        assert_eq!(live.len(), 1);
        for token in tokens.iter().filter(|token| **token != live[0]) {
            assert_gone(&refresh(&server, token).await, "invalid");
        }
        let next = refresh(&server, &live[0]).await;
        assert_refreshed(&next, 201, serde_json::Value::Null);
    }
}

/// Whatever is presented at whichever server at once: after each round one token is live, which nobody had before.
#[tokio::test(flavor = "multi_thread")]
async fn one_token_is_live_after_any_race() {
    let one = TestServer::start_with(|config| config.registration_refreshes_per_hour = 1000).await;
    let two = one.second_process().await;
    let app = one.app().await;
    let mut rng = ChaCha12Rng::seed_from_u64(11);
    let mut issued = vec![create(&app, DEVICE).await];
    // The current token and its parent.
    let (mut current, mut parent): (String, Option<String>) = (issued[0].clone(), None);
    for round in 0..15 {
        let mut clients = Vec::new();
        for _ in 0..6 {
            let client = if rng.random_bool(0.5) { &one } else { &two }.anon();
            let token = match (rng.random_range(0..4), &parent) {
                (0, Some(parent)) => parent.clone(),
                (1, _) => issued[rng.random_range(0..issued.len())].clone(),
                _ => current.clone(),
            };
            clients.push((client, token));
        }
        let answers = at_once(clients).await;
        let mut fresh = Vec::new();
        let mut is_advanced = false;
        for (token, answer) in answers {
            match answer.status {
                201 => {
                    // Only what was live, or became live in this very round, makes a child of its own.
                    assert_eq!(token, current, "round {round}");
                    assert!(!is_advanced, "one of them is the first");
                    is_advanced = true;
                    fresh.push(answer.text("registrationToken"));
                }
                200 => {
                    let was_known = token == current || Some(&token) == parent.as_ref();
                    assert!(was_known, "round {round}");
                    fresh.push(answer.text("registrationToken"));
                }
                _ => assert_gone(&answer, "invalid"),
            }
        }
        let all: Vec<_> = issued.iter().chain(&fresh).cloned().collect();
        let live = live(&one, &all).await;
        assert_eq!(live.len(), 1, "round {round}");
        if is_advanced {
            parent = Some(current.clone());
        }
        assert!(fresh.is_empty() || fresh.contains(&live[0]));
        current.clone_from(&live[0]);
        issued.extend(fresh);
    }
    assert_eq!(count(&one).await, (1, 1));
    assert_eq!(refresh(&two, &current).await.status, 201);
}

/// 409: of several that register one device at once, one has a live token, and whoever lost is told.
#[tokio::test(flavor = "multi_thread")]
async fn many_register_one_device_at_once() {
    let one = TestServer::start().await;
    let two = one.second_process().await;
    let app = one.app().await;
    let mut conflicts = 0;
    for round in 0..30 {
        let device = format!("device-{}", round / 2);
        let start = Arc::new(Barrier::new(8));
        let mut tasks = JoinSet::new();
        for index in 0..8 {
            let server = if index % 2 == 0 { &one } else { &two };
            let client = server.known_app(&app).backend();
            let (start, path) = (start.clone(), create_path(&app.id));
            let body = registration(&device);
            tasks.spawn(async move {
                start.wait().await;
                client.post(&path, body).await
            });
        }
        let mut tokens = Vec::new();
        for answer in tasks.join_all().await {
            if answer.status == 200 {
                tokens.push(answer.text("registrationToken"));
            } else {
                answer.assert_problem(409, "conflict");
                conflicts += 1;
            }
        }
        assert_eq!(live(&one, &tokens).await.len(), 1, "round {round}");
        assert_eq!(count(&one).await, (round / 2 + 1, round / 2 + 1));
        if conflicts > 0 && round > 5 {
            break;
        }
    }
    assert!(conflicts > 0);
}

/// A device that refreshes while its backend registers it again ends with one live token.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_races_a_registration() {
    let server = TestServer::start().await;
    let app = server.app().await;
    for round in 0..15 {
        let first = create(&app, DEVICE).await;
        server.advance(3600);
        let (refreshed, created) = tokio::join!(
            refresh(&server, &first),
            create_with(&app, registration(DEVICE))
        );
        assert_eq!(created.status, 200, "round {round}: {}", created.raw);
        let mut tokens = vec![first, created.text("registrationToken")];
        if refreshed.status == 201 {
            tokens.push(refreshed.text("registrationToken"));
        } else {
            assert_gone(&refreshed, "invalid");
        }
        assert_eq!(live(&server, &tokens).await, [tokens[1].clone()]);
    }
}
