//! Apps as the root key makes, changes, lists and deletes them, and what their keys open.

use base64::{Engine, prelude::BASE64_STANDARD};
use entity::setting;
use keys::{Algorithm, KeyType};
use sea_orm::ConnectionTrait;
use serde_json::json;

use super::{Door, ID, start};
use crate::support::{ROOT_KEY, START_MILLIS, TestServer, new_app};

/// The doors by which a policy comes in: a new app's, and an app's that is there.
async fn doors() -> (TestServer, Door, Door) {
    let (server, app, _) = start().await;
    let create = Door::post(server.root(), "/root/create", new_app());
    let update = Door::patch(server.root(), format!("/root/{}", app.id), json!({}));
    (server, create, update)
}

/// Every field at its border, when an app is made and when it is changed.
#[tokio::test]
async fn policies_have_limits() {
    let (_server, create, update) = doors().await;
    let required =
        "name token_expire refresh_expire refresh_notbefore key_type algo rotation_period";
    create.requires(required).await;
    for field in required.split(' ') {
        create.refuses(json!({field: [null]})).await;
    }
    create
        .refuses(
            json!({"key_type": ["", "EC", "ecdsa", 5], "algo": ["", "es256", "HS256", "none", 5]}),
        )
        .await;
    let life = json!([59, 0, -60, 31_536_001, 60.5, "60", true, []]);
    let wait = json!([-1, 31_536_001, 0.5, "0", false]);
    let wrong = json!({
        "name": ["", " ", "é".repeat(101), 5, "a\0b", "a\nb"], "description": ["é".repeat(1001), 5, "\0"],
        "issuer": ["", "é".repeat(256), 5, "a\nb"], "max_sessions_per_subject": [0, -1, 10_001, 1.5, "1"],
        "token_expire": life, "refresh_expire": life, "session_expire": life, "rotation_period": life,
        "registration_expire": life, "registration_grace": wait, "push_binding": [0, "true"],
        "device_audiences": ["a", {}, [""], ["a\nb"], ["é".repeat(256)], vec!["a"; 51]],
        "token_notbefore": wait, "refresh_notbefore": wait, "refresh_grace": [-1, 61, 31_536_000, 0.5, "0", false],
        "tokenExpire": [60], "issued_after": [0], "allowed_origins": ["https://a.example", {}],
    });
    let right = json!({
        "name": ["a", "é".repeat(100)], "description": ["", "é".repeat(1000)],
        "issuer": ["a", "é".repeat(255), "https://a.example", null], "max_sessions_per_subject": [1, 10_000, null],
        "token_expire": [60, 31_536_000], "refresh_expire": [60, 31_536_000],
        "session_expire": [60, 31_536_000, null], "rotation_period": [60, 31_536_000],
        "registration_expire": [60, 31_536_000, null], "registration_grace": [0, 31_536_000], "push_binding": [true, false],
        "device_audiences": [[], ["é".repeat(255)], vec!["a"; 50]],
        "token_notbefore": [0, 59], "refresh_notbefore": [0, 59], "refresh_grace": [60, 1, 0],
    });
    for door in [create, update] {
        door.refuses(wrong.clone()).await;
        for (field, values) in right.as_object().unwrap() {
            for value in values.as_array().unwrap() {
                let answer = door.send(json!({field: value})).await;
                assert_eq!(
                    answer.status, 200,
                    "{} {field} {value}: {}",
                    door.path, answer.raw
                );
            }
        }
    }
}

/// A token that is valid only after it has expired would be none. The whole policy counts, not the change.
#[tokio::test]
async fn a_token_is_valid_for_a_while() {
    let (_server, create, update) = doors().await;
    for (life, wait) in [
        ("token_expire", "token_notbefore"),
        ("refresh_expire", "refresh_notbefore"),
    ] {
        for door in [&create, &update] {
            let set = |life_seconds, wait_seconds| {
                door.send(json!({life: life_seconds, wait: wait_seconds}))
            };
            set(100, 100).await.assert_invalid(&[wait]);
            set(100, 101).await.assert_invalid(&[wait]);
            assert_eq!(set(100, 99).await.status, 200, "{} {wait}", door.path);
        }
        update.send(json!({life: 99})).await.assert_invalid(&[wait]);
        update
            .send(json!({wait: 100}))
            .await
            .assert_invalid(&[wait]);
    }
    let both = json!({"token_notbefore": 3600, "refresh_notbefore": 7199});
    create
        .send(both)
        .await
        .assert_invalid(&["token_notbefore", "refresh_notbefore"]);
}

/// A client that could renew only after its auth token has ended would be without one for a while.
#[tokio::test]
async fn a_refresh_token_is_valid_before_the_auth_token_ends() {
    let (server, create, update) = doors().await;
    for door in [&create, &update] {
        let set = |life, wait| door.send(json!({"token_expire": life, "refresh_notbefore": wait}));
        for wait in [600, 601, 7199] {
            set(600, wait).await.assert_invalid(&["refresh_notbefore"]);
        }
        assert_eq!(set(600, 599).await.status, 200, "{}", door.path);
    }
    update
        .send(json!({"token_expire": 599}))
        .await
        .assert_invalid(&["refresh_notbefore"]);
    update
        .send(json!({"refresh_notbefore": 600}))
        .await
        .assert_invalid(&["refresh_notbefore"]);

    // An app of an earlier release is served as it was, until it is changed.
    let app = server.app().await;
    set_columns(
        &server,
        "refresh_notbefore = 3600, refresh_grace = 31536000",
    )
    .await;
    let first = app.sign().await;
    let change = Door::patch(server.root(), format!("/root/{}", app.id), json!({}));
    let broken = ["refresh_notbefore", "refresh_grace"];
    change
        .send(json!({"name": "b"}))
        .await
        .assert_invalid(&broken);
    server.advance(3600);
    assert_eq!(app.renew(&first.refresh_token()).await.status, 200);
    let mended = json!({"refresh_notbefore": 0, "refresh_grace": 60});
    assert_eq!(change.send(mended).await.status, 200);
}

/// A session that ends before its tokens are valid would be none: it could not be used, or not be renewed.
#[tokio::test]
async fn a_session_lives_until_its_tokens_are_valid() {
    let (_server, create, update) = doors().await;
    for wait in ["refresh_notbefore", "token_notbefore"] {
        for door in [&create, &update] {
            let set = |end: Option<i64>, seconds| {
                door.send(json!({"token_expire": 100, "session_expire": end, wait: seconds}))
            };
            for seconds in [60, 61, 99] {
                let refused = set(Some(60), seconds).await;
                refused.assert_invalid(&[wait]);
                assert!(refused.raw.contains("session_expire"), "{}", refused.raw);
            }
            for (end, seconds) in [(Some(60), 59), (Some(100), 99), (None, 99)] {
                let answer = set(end, seconds).await;
                assert_eq!(answer.status, 200, "{} {wait} {seconds}", door.path);
            }
        }
        // The whole policy counts, not the change.
        let end = json!({"session_expire": 99});
        update.send(end).await.assert_invalid(&[wait]);
        assert_eq!(update.send(json!({wait: 0})).await.status, 200);
    }
}

/// Its own, and the one before: while a parent is answered again, a thief is not told from the client.
#[tokio::test]
async fn a_grace_is_at_most_a_minute() {
    let (server, create, update) = doors().await;
    for door in [&create, &update] {
        let set = |life, grace| door.send(json!({"token_expire": life, "refresh_grace": grace}));
        for (life, grace) in [(3600, 61), (60, 60), (3600, 31_536_000)] {
            set(life, grace).await.assert_invalid(&["refresh_grace"]);
        }
        assert_eq!(set(60, 59).await.status, 200, "{}", door.path);
    }
    update
        .send(json!({"refresh_grace": 60}))
        .await
        .assert_invalid(&["refresh_grace"]);

    // What an earlier release took is a minute now: of the app, and of a session that was renewed by then.
    let app = server.app().await;
    let (kept, late) = (
        app.sign().await.refresh_token(),
        app.sign().await.refresh_token(),
    );
    set_columns(&server, "refresh_grace = 31536000").await;
    for token in [&kept, &late] {
        let answer = app.renew(token).await;
        assert_eq!(
            (answer.status, &answer.body["refresh_grace"]),
            (200, &json!(60))
        );
    }
    let until = format!(
        "UPDATE session SET parent_until = {}",
        (START_MILLIS / 1000 + 31_536_000) * 1000
    );
    server
        .app
        .store
        .writer
        .execute_unprepared(&until)
        .await
        .unwrap();
    server.advance(59);
    assert_eq!(app.renew(&kept).await.status, 200);
    server.advance(1);
    app.renew(&late).await.assert_refused("refresh_token_used");
}

/// Makes every app one that an earlier release took.
async fn set_columns(server: &TestServer, columns: &str) {
    let writer = &server.app.store.writer;
    let update = format!("UPDATE app SET {columns}");
    writer.execute_unprepared(&update).await.unwrap();
    setting::advance_epoch(writer).await.unwrap();
    server
        .app
        .directory
        .follow(&server.app.store)
        .await
        .unwrap();
}

/// Each type of key with each algorithm.
#[tokio::test]
async fn the_algorithm_is_one_of_the_key_type() {
    let (_server, create, _) = doors().await;
    for key_type in KeyType::ALL {
        for algorithm in Algorithm::ALL {
            let names = json!({"key_type": key_type.as_str(), "algo": algorithm.as_str()});
            let answer = create.send(names.clone()).await;
            if algorithm.key_type() == key_type && algorithm.is_supported() {
                assert_eq!(answer.status, 200, "{names}: {}", answer.raw);
                assert_eq!(answer.body["algo"], names["algo"]);
            } else {
                assert_eq!(answer.status, 400, "{names}");
                answer.assert_invalid(&["algo"]);
            }
        }
    }
}

/// RFC 6454 section 6.2: what no browser sends would silently allow nothing.
#[tokio::test]
async fn origins_are_what_browsers_send() {
    let (_server, create, update) = doors().await;
    let wrong = json!({"allowed_origins": [
        ["*"], ["null"], ["a.example"], ["//a.example"], ["https://"], ["https://a.example/"], ["https://a.example/x"],
        ["https://a.example?"], ["https://a.example#"], ["https://A.example"], ["https://a.example:443"],
        ["http://a.example:80"], ["ftp://a.example"], ["https://a@a.example"], ["https://é.example"],
        ["https://a.example", "*"], [" https://a.example"], vec!["https://a.example"; 101],
    ]});
    for door in [create, update] {
        let right = json!([
            "https://a.example",
            "http://localhost:3000",
            "https://[::1]:8443",
            "http://127.0.0.1"
        ]);
        for origins in [json!([]), right, json!(vec!["https://a.example"; 100])] {
            let answer = door.send(json!({"allowed_origins": origins})).await;
            assert_eq!(answer.status, 200, "{origins}: {}", answer.raw);
        }
        door.send(json!({"allowed_origins": [5]}))
            .await
            .assert_invalid(&["allowed_origins[0]"]);
        door.refuses(wrong.clone()).await;
    }
}

/// One entry is one origin: nothing is none, and neither a line break nor a pattern makes it several.
#[tokio::test]
async fn an_entry_is_one_origin() {
    let (_server, create, update) = doors().await;
    let wrong = json!({"allowed_origins": [
        [""], ["https://a.example", ""], ["https://a.example\n"], ["https://a.example\nhttps://b.example"],
        ["https://*.a.example"],
    ]});
    for door in [create, update] {
        door.refuses(wrong.clone()).await;
    }
}

/// Any subset changes, null removes, and the app shows it; what is refused changes nothing.
#[tokio::test]
async fn an_app_is_changed() {
    let (server, app, _) = start().await;
    let update = Door::patch(server.root(), format!("/root/{}", app.id), json!({}));
    let show = format!("/app/{}", app.id);
    let mut shown = json!({
        "id": app.id, "name": "app_2", "description": "", "token_expiry": 3600, "token_notbefore": 0,
        "refresh_expiry": 7200, "refresh_notbefore": 0, "key_type": "ECDSA", "algo": "ES256",
        "rotation_period": 86400, "add_time": START_MILLIS / 1000, "update_time": 0, "last_key_rotate": 0,
        "issuer": "app_2", "refresh_grace": 0, "session_expire": null, "max_sessions_per_subject": null,
        "allowed_origins": [], "registration_grace": 86400, "registration_expire": null, "push_binding": false,
        "device_audiences": [],
    });
    let steps = json!([
        [{}, {}],
        [{"name": "b", "token_expire": 60}, {"name": "b", "issuer": "b", "token_expiry": 60}],
        [{"issuer": "i", "session_expire": 600, "max_sessions_per_subject": 3, "description": "d"},
            {"issuer": "i", "session_expire": 600, "max_sessions_per_subject": 3, "description": "d"}],
        [{"allowed_origins": ["https://a.example", "https://b.example"], "refresh_grace": 9},
            {"allowed_origins": ["https://a.example", "https://b.example"], "refresh_grace": 9}],
        [{"refresh_expire": 90, "refresh_notbefore": 5, "token_notbefore": 6, "rotation_period": 70},
            {"refresh_expiry": 90, "refresh_notbefore": 5, "token_notbefore": 6, "rotation_period": 70}],
        [{"issuer": null, "session_expire": null, "max_sessions_per_subject": null, "allowed_origins": []},
            {"issuer": "b", "session_expire": null, "max_sessions_per_subject": null, "allowed_origins": []}],
        [{"registration_grace": 0, "registration_expire": 60, "push_binding": true},
            {"registration_grace": 0, "registration_expire": 60, "push_binding": true}],
        [{"device_audiences": ["telemetry", "a b"]}, {"device_audiences": ["telemetry", "a b"]}],
    ]);
    assert_eq!(app.backend().get(&show).await.body, json!({"app": shown}));
    for step in steps.as_array().unwrap() {
        server.advance(5);
        update
            .send(json!({"name": "never", "token_expire": 59}))
            .await
            .assert_invalid(&["token_expire"]);
        let answer = update.send(step[0].clone()).await;
        assert_eq!((answer.status, answer.body), (200, json!({"status": "ok"})));
        for (name, value) in step[1].as_object().unwrap() {
            shown[name] = value.clone();
        }
        let answer = app.backend().get(&show).await;
        shown["update_time"] = answer.body["app"]["update_time"].clone();
        assert_eq!(answer.body, json!({"app": shown}));
    }
    assert_eq!(shown["update_time"], START_MILLIS / 1000 + 40);
    let (_, claims) = crate::support::decode(&app.sign().await.auth_token());
    assert_eq!(
        (&claims["iss"], &claims["exp"]),
        (&json!("b"), &json!(START_MILLIS / 1000 + 100))
    );
}

/// Letters are compared as Unicode has them, by every engine, and no letter stands for others.
#[tokio::test]
async fn apps_are_found_by_a_part_of_their_name() {
    let server = TestServer::start().await;
    let root = server.root();
    let mut ids = Vec::new();
    for name in ["Größe 1", "shop%2", "my Shop", "other"] {
        let app = server.app().await;
        let body = json!({"name": name});
        root.patch(&format!("/root/{}", app.id), body).await;
        ids.insert(0, app.id);
        server.advance(1);
    }
    let found = async |query: &str| {
        let answer = root.get(&format!("/root/list?{query}")).await;
        assert_eq!(answer.status, 200, "{query}");
        let apps = answer.body["apps"].as_array().unwrap().iter();
        let found: Vec<_> = apps
            .map(|app| app["id"].as_str().unwrap().to_owned())
            .collect();
        (found, answer.body["next_cursor"].clone())
    };
    for (query, expected) in [
        ("name=SHOP", &ids[1..3]),
        ("name=gr%C3%B6%C3%9F", &ids[3..]),
        ("name=GR%C3%96", &ids[3..]),
        ("name=p%25", &ids[2..3]),
        ("name=_", &[]),
    ] {
        assert_eq!(
            found(query).await,
            (expected.to_vec(), json!(null)),
            "{query}"
        );
    }
    let first = (ids[1..2].to_vec(), json!(ids[1]));
    assert_eq!(found("name=shop&limit=1").await, first);
    let query = format!("name=shop&limit=1&cursor={}", ids[1]);
    assert_eq!(found(&query).await, (ids[2..3].to_vec(), json!(null)));
}

/// All apps, the newest first, in pages; a deleted one is gone at once, with all that it had.
#[tokio::test]
async fn apps_are_listed_and_deleted() {
    let server = TestServer::start().await;
    let (root, mut made) = (server.root(), Vec::new());
    for _ in 0..5 {
        made.insert(0, server.app().await);
        server.advance(1);
    }
    let gone = made.remove(2);
    let (one, session) = (format!("/root/{}", gone.id), gone.sign().await);
    let deleted = root.delete(&one).await;
    assert_eq!(
        (deleted.status, deleted.body),
        (200, json!({"status": "ok"}))
    );
    for (limit, pages) in [(1, 4), (2, 2), (3, 2), (4, 1), (500, 1)] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        for page in 1..=pages {
            let answer = root.get(&format!("/root/list?limit={limit}{cursor}")).await;
            found.extend(answer.body["apps"].as_array().unwrap().clone());
            let next = answer.body["next_cursor"].as_str();
            assert_eq!(next.is_none(), page == pages, "{limit}");
            cursor = next
                .map(|next| format!("&cursor={next}"))
                .unwrap_or_default();
        }
        let ids: Vec<_> = found
            .iter()
            .map(|app| app["id"].as_str().unwrap())
            .collect();
        assert_eq!(
            ids,
            made.iter().map(|app| &app.id).collect::<Vec<_>>(),
            "{limit}"
        );
        let shown = made[0].backend().get(&format!("/app/{}", made[0].id)).await;
        assert_eq!(shown.body["app"], found[0]);
    }
    for client in [gone.backend(), gone.front_end()] {
        let body =
            json!({"refresh_token": session.refresh_token(), "ip": "1.1.1.1", "useragent": "a"});
        client
            .post(&gone.path("renew"), body)
            .await
            .assert_problem(403, "invalid_key");
        client
            .get(&gone.path("pub-keys"))
            .await
            .assert_problem(403, "invalid_key");
    }
    for answer in [
        root.get(&gone.path(".well-known/jwks.json")).await,
        root.delete(&one).await,
        root.patch(&one, json!({"name": "a"})).await,
        root.delete(&format!("/root/{ID}")).await,
    ] {
        answer.assert_problem(404, "not_found");
    }
}

/// Section 2 of the contract: a key opens what it is for, and is refused alike everywhere else.
#[tokio::test]
async fn a_key_opens_its_own_door() {
    let (server, app, other) = start().await;
    let (own, theirs, info) = (
        app.path("pub-keys"),
        other.path("pub-keys"),
        format!("/app/{}", app.id),
    );
    let (secret, public) = (&*app.secret_key, &*app.publishable_key);
    for (key, path, code) in [
        (public, &theirs, "invalid_key"),
        (secret, &theirs, "invalid_key"),
        (public, &own.replace(&app.id, ID), "invalid_key"),
        (ROOT_KEY, &own, "invalid_key"),
        (secret, &"/root/list".to_owned(), "invalid_key"),
        (public, &"/root/list".to_owned(), "invalid_key"),
        (public, &info, "insufficient_key"),
    ] {
        let answer = server.anon().with_key(key).get(path).await;
        assert_eq!(answer.status, 403, "{key} {path}: {}", answer.raw);
        answer.assert_problem(403, code);
    }
    for (key, path) in [(secret, &*own), (public, &own), (ROOT_KEY, "/root/list")] {
        let asks = |form: &str| {
            let encoded = BASE64_STANDARD.encode(format!("{key}:"));
            let client = server
                .anon()
                .with_key(&form.replace("KEY", key).replace("BASE64", &encoded));
            async move { client.get(path).await }
        };
        for form in "KEY|Bearer KEY|bearer KEY|BEARER KEY|beArer   KEY".split('|') {
            assert_eq!(asks(form).await.status, 200, "{form}");
        }
        let forms = "|Bearer|Bearer |KEYx|xKEY|KEYKEY|KEY KEY|KEY,KEY|Bearer Bearer KEY|BearerKEY|KEY Bearer|\
                     Basic KEY|Basic BASE64|Token KEY|ApiKey KEY|DPoP KEY";
        let flipped = (0..key.len()).map(|at| {
            let other = if key.as_bytes()[at] == b'x' { "y" } else { "x" };
            format!("{}{other}{}", &key[..at], &key[at + 1..])
        });
        let cut = key[1..].to_owned();
        for form in forms
            .split('|')
            .map(str::to_owned)
            .chain(flipped)
            .chain([cut])
        {
            let answer = asks(&form).await;
            assert_eq!(answer.status, 403, "{form}: {}", answer.raw);
            answer.assert_problem(403, "invalid_key");
        }
        let query =
            format!("{path}?key={key}&api_key={key}&Authorization={key}&access_token={key}");
        let elsewhere = server
            .anon()
            .with_header("x-api-key", key)
            .with_header("cookie", key);
        elsewhere
            .get(&query)
            .await
            .assert_problem(403, "invalid_key");
    }
}
