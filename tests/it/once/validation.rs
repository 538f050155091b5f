//! What the input may be: every rule at its border.

mod apps;

use poem::http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, TestApp, TestServer, decode, new_session};

/// Of nothing.
const ID: &str = "01JMWRJEJ71191KP88NDGWVYEW";
const SUB: &str = "test@test.com";

/// An operation, and input that it takes.
struct Door {
    client: Client,
    method: Method,
    path: String,
    good: Value,
}

impl Door {
    fn post(client: Client, path: impl Into<String>, good: Value) -> Self {
        let (method, path) = (Method::POST, path.into());
        Self {
            client,
            method,
            path,
            good,
        }
    }

    fn patch(client: Client, path: String, good: Value) -> Self {
        Self {
            method: Method::PATCH,
            ..Self::post(client, path, good)
        }
    }

    /// Sends the good input with `changes`.
    async fn send(&self, changes: Value) -> Answer {
        let mut body = self.good.clone();
        for (field, value) in changes.as_object().unwrap() {
            body[field] = value.clone();
        }
        self.client
            .send_json(self.method.clone(), &self.path, body)
            .await
    }

    /// Each value that `wrong` lists for a field is refused in its place, and that very field is named.
    async fn refuses(&self, wrong: Value) {
        for (field, values) in wrong.as_object().unwrap() {
            for value in values.as_array().unwrap() {
                let answer = self.send(json!({field: value})).await;
                let found = &answer.body["errors"][0]["error_field"];
                assert_eq!(found, field, "{}: {value}: {}", self.path, answer.raw);
                answer.assert_invalid(&[field]);
            }
        }
    }

    /// Each of `fields` is named when it is left out, and all when all are.
    async fn requires(&self, fields: &str) {
        let fields: Vec<_> = fields.split(' ').collect();
        let path = &self.path;
        for field in &fields {
            let mut body = self.good.clone();
            body.as_object_mut().unwrap().remove(*field);
            self.client.post(path, body).await.assert_invalid(&[field]);
        }
        let answer = self.client.post(path, json!({})).await;
        answer.assert_invalid(&fields);
    }
}

/// A server with two apps.
async fn start() -> (TestServer, TestApp, TestApp) {
    let server = TestServer::start().await;
    let (app, other) = (server.app().await, server.app().await);
    (server, app, other)
}

fn claims(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.raw);
    decode(&answer.auth_token()).1
}

/// Lengths are counted in characters. What is taken is what the token says; an IPv6 address and a long user agent are no failure.
#[tokio::test]
async fn sign() {
    let (server, app, _) = start().await;
    let sign = Door::post(app.backend(), app.path("sign"), new_session());
    let [long, longer, agent] = [255, 256, 1025].map(|count| "é".repeat(count));
    sign.requires("sub aud ip useragent").await;
    let wrong = json!({
        "sub": [null, "", longer, 5, true, ["a"], {}, "a\0b"],
        "aud": [null, "", longer, 5, true, {}, [], [""], [longer], ["a", 5], [["a"]], [null], vec!["a"; 51], "\0"],
        "ip": [null, "", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.1.1.1", " 1.1.1.1", "1.1.1.1:80", "1.1.1.1/8",
            "::1::", "[::1]", "[::1]:80", "fe80::1%eth0", "fe80::1%1", "localhost", 16843009, ["1.1.1.1"]],
        "useragent": [null, agent, 5, ["a"], "a\0b"],
        "personal": ["a", 5, true, [], [{}]],
        "device_id": ["", "a", ID.to_lowercase(), &ID[1..], "81JMWRJEJ71191KP88NDGWVYEW", 5, {}],
    });
    sign.refuses(wrong).await;
    let right = json!({
        "sub": ["a", long, "🔑", " "],
        "aud": ["a", long, ["a"], ["a", "a"], [long], vec!["a"; 50]],
        "ip": ["0.0.0.0", "255.255.255.255", "::", "2001:db8::7", "::ffff:1.2.3.4"],
        "useragent": ["a", "é".repeat(1024)],
        "personal": [{}, {"iss": "x", "sub": 5, "": [1, null, 2.5, {"é": {}}], "nul": "\0"}],
    });
    for (field, values) in right.as_object().unwrap() {
        for value in values.as_array().unwrap() {
            let signed = claims(&sign.send(json!({field: value})).await);
            assert_eq!(signed[field], *value, "{field}");
        }
    }
    let full = claims(&sign.send(json!({"ip": "2001:DB8:0:0:0:0:0:7"})).await);
    assert_eq!(full["ip"], "2001:db8::7");
    server.advance(1);
    claims(&sign.send(json!({"device_id": ID})).await);
    assert_eq!(app.sessions().await[0]["device_id"], ID);
}

/// The registered claims are the server's, however they are spelled; any other is carried as it is.
#[tokio::test]
async fn custom_claims() {
    let (_server, app, _) = start().await;
    let sign = Door::post(app.backend(), app.path("sign"), new_session());
    let bad = json!([1, null, "a", {}]);
    let reserved = json!({"exp": bad, "iat": bad, "iss": bad, "jid": bad, "jti": bad, "nbf": bad, "sid": bad, "type": bad});
    sign.refuses(reserved.clone()).await;
    let all = ["exp", "iat", "iss", "jid", "jti", "nbf", "sid", "type"];
    sign.send(reserved).await.assert_invalid(&all);
    let escaped = new_session()
        .to_string()
        .replace("{\"aud", "{\"\\u0065xp\":1,\"aud");
    let json = Some("application/json");
    let answer = sign
        .client
        .send(Method::POST, &sign.path, json, escaped)
        .await;
    answer.assert_invalid(&["exp"]);

    let custom = json!({"role": "admin", "ISS": 1, "exp ": 2, "typ": "x", "kid": "k", "alg": "none", "crit": ["exp"],
        "scope": null, "": {"é": [1, 2.5, {}]}, "claims": {"exp": 1}, "__proto__": true, "n": 9007199254740993_i64});
    let signed = claims(&sign.send(custom.clone()).await);
    for (name, value) in custom.as_object().unwrap() {
        assert_eq!(signed.get(name), Some(value), "{name}");
    }
    // 16 KiB, and no more.
    let empty = sign.good.to_string().len() + ",\"pad\":\"\"".len();
    let padded = |bytes| sign.send(json!({"pad": "x".repeat(bytes - empty)}));
    padded(16 * 1024 + 1).await.assert_invalid(&[""]);
    let largest = padded(16 * 1024).await;
    let renewed = app.renew(&largest.refresh_token()).await;
    assert_eq!(claims(&renewed)["pad"], claims(&largest)["pad"]);
    assert!(app.verifies(&renewed.auth_token()).await);
}

/// What was taken can be verified, also when it is written longer than it came.
#[tokio::test]
async fn numbers_do_not_outgrow_a_token() {
    let (_server, app, _) = start().await;
    let numbers = vec!["1e15"; 3000].join(",");
    let body = new_session()
        .to_string()
        .replace("{\"aud", &format!("{{\"n\":[{numbers}],\"aud"));
    let json = Some("application/json");
    let path = app.path("sign");
    let answer = app.backend().send(Method::POST, &path, json, body).await;
    if answer.status == 200 {
        assert!(app.verifies(&answer.auth_token()).await);
    } else {
        answer.assert_problem(400, "invalid_request");
    }
}

/// A refused input is no use of the token. A browser is not asked what only a backend knows.
#[tokio::test]
async fn renew_and_verify() {
    let (_server, app, _) = start().await;
    let token = json!({"refresh_token": app.sign().await.refresh_token()});
    let renew = Door::post(app.backend(), app.path("renew"), token.clone());
    renew.requires("refresh_token").await;
    renew
        .send(json!({}))
        .await
        .assert_invalid(&["ip", "useragent"]);
    let good = json!({"refresh_token": token["refresh_token"], "ip": "2001:db8::7", "useragent": "é".repeat(1024)});
    let renew = Door {
        good: good.clone(),
        ..renew
    };
    let wrong = json!({
        "refresh_token": [null, "", 5, ["a"], {}],
        "ip": [null, "", "1.1.1.1:80", "fe80::1%eth0", 5],
        "useragent": [null, "é".repeat(1025), 5],
        "refreshToken": [null, "a"],
        "personal": [{}],
    });
    renew.refuses(wrong).await;
    let second = renew.send(json!({})).await;
    for field in ["ip", "useragent"] {
        assert_eq!(claims(&second)[field], good[field]);
    }
    let page = app.front_end().with_header("user-agent", &"a".repeat(1025));
    let bare = json!({"refresh_token": second.refresh_token()});
    let third = page.post(&app.path("renew"), bare).await;
    assert_eq!(claims(&third)["useragent"], "a".repeat(1024));

    let good = json!({"token": third.auth_token()});
    let verify = Door::post(page, app.path("verify"), good);
    verify.requires("token").await;
    verify
        .refuses(json!({"token": [null, 5, true, ["a"], {}], "type": ["auth", null]}))
        .await;
    assert_eq!(verify.send(json!({})).await.body["verified"], true);
}

/// Exactly one of `token`, `session_id` and `sub`; ending what has ended is no error.
#[tokio::test]
async fn logout() {
    let (_server, app, other) = start().await;
    for verb in ["logout", "revoke-token"] {
        let logout = Door::post(app.backend(), app.path(verb), json!({}));
        let page = Door::post(app.front_end(), app.path(verb), json!({}));
        let [first, second, third, kept] = [
            app.sign().await,
            app.sign().await,
            app.sign().await,
            app.sign().await,
        ];
        let foreign = other.sign().await;
        let (token, session) = (first.auth_token(), first.text("session_id"));
        let wrong = json!({
            "token": [null, 5, {}],
            "session_id": ["", "a", session.to_lowercase(), 5],
            "sub": ["", "é".repeat(256), 5, ["a"], "\0"],
            "except_session_id": ["a", 5],
            "all": [true],
        });
        logout.refuses(wrong).await;
        let unclear = json!([
            ["token", {}],
            ["token", {"token": token, "sub": SUB}],
            ["token", {"token": token, "session_id": session}],
            ["token", {"session_id": session, "sub": SUB}],
            ["except_session_id", {"session_id": session, "except_session_id": ID}],
            ["except_session_id", {"token": token, "except_session_id": ID}],
        ]);
        for case in unclear.as_array().unwrap() {
            logout
                .send(case[1].clone())
                .await
                .assert_invalid(&[case[0].as_str().unwrap()]);
        }
        for body in [json!({"session_id": session}), json!({"sub": SUB})] {
            page.send(body)
                .await
                .assert_problem(403, "insufficient_key");
        }
        let keeping = json!({"sub": SUB, "except_session_id": kept.text("session_id")});
        for (door, body, revoked) in [
            (&page, json!({"token": "garbage"}), 0),
            (&logout, json!({"session_id": ID}), 0),
            (
                &logout,
                json!({"session_id": foreign.body["session_id"]}),
                0,
            ),
            (&logout, json!({"sub": "nobody"}), 0),
            (&page, json!({"token": token}), 1),
            (&page, json!({"token": token}), 0),
            (&logout, json!({"session_id": session}), 0),
            (&logout, json!({"token": second.refresh_token()}), 1),
            (&logout, keeping.clone(), 1),
            (&logout, keeping, 0),
            (&logout, json!({"session_id": kept.body["session_id"]}), 1),
            (&logout, json!({"sub": SUB}), 0),
        ] {
            let answer = door.send(body.clone()).await;
            assert_eq!(
                answer.body,
                json!({"status": "ok", "revoked": revoked}),
                "{body}"
            );
        }
        let late = app.renew(&third.refresh_token()).await;
        late.assert_refused("refresh_token_revoked");
        claims(&other.renew(&foreign.refresh_token()).await);
    }
}

/// All that can be renewed, the newest first, in pages; nothing of another app or subject.
#[tokio::test]
async fn get_session() {
    let (server, app, other) = start().await;
    let list = Door::post(app.backend(), app.path("get-session"), json!({"sub": SUB}));
    list.requires("sub").await;
    let wrong = json!({
        "sub": [null, "", "é".repeat(256), 5, ["a"]],
        "limit": [0, 501, -1, 1.5, "2", true, 1e300, u64::MAX],
        "cursor": ["", "a", ID.to_lowercase(), 5],
        "offset": [1],
    });
    list.refuses(wrong).await;
    let mut begun = Vec::new();
    for _ in 0..5 {
        server.advance(1);
        other.sign().await;
        let mut another = new_session();
        another["sub"] = json!("another");
        app.sign_with(another).await;
        begun.insert(0, app.sign().await.text("session_id"));
    }
    for (limit, pages) in [(2, 3), (5, 1), (1, 5), (500, 1)] {
        let (mut found, mut cursor) = (Vec::new(), Value::Null);
        for page in 1..=pages {
            let answer = list.send(json!({"limit": limit, "cursor": cursor})).await;
            let sessions = answer.body["sessions"].as_array().unwrap();
            found.extend(sessions.iter().map(|one| one["session_id"].clone()));
            cursor = answer.body["next_cursor"].clone();
            assert_eq!(cursor.is_null(), page == pages, "{limit}");
        }
        assert_eq!(found, begun, "{limit}");
    }
    let answer = app.front_end().post(&list.path, list.good).await;
    answer.assert_problem(403, "insufficient_key");
}

/// The next renewal carries the changes; what was signed before stays as it was.
#[tokio::test]
async fn amend_a_session() {
    let (server, app, other) = start().await;
    let first = app.sign().await;
    let door = |id: &str| {
        Door::patch(
            app.backend(),
            app.path(&format!("sessions/{id}")),
            json!({}),
        )
    };
    let own = door(&first.text("session_id"));
    let names = "iss exp nbf iat jti jid sid type sub aud ip useragent device_id personal";
    for name in names.split(' ') {
        own.refuses(json!({name: ["a", 5, []]})).await;
    }
    let half = "x".repeat(9000);
    let mut token = first.refresh_token();
    let steps = json!([
        [{}, null, {"name": "test-user"}],
        [{"role": ["a"], "personal": {"a": {}}, "half": half}, ["a"], {"a": {}}],
        [{"role": "b"}, "b", {"a": {}}],
        [{"role": null, "personal": null}, null, null],
    ]);
    for step in steps.as_array().unwrap() {
        let answer = own.send(step[0].clone()).await;
        assert_eq!((answer.status, answer.body), (200, json!({"status": "ok"})));
        let next = app.renew(&token).await;
        token = next.refresh_token();
        let claims = claims(&next);
        assert_eq!([&claims["role"], &claims["personal"]], [&step[1], &step[2]]);
    }
    own.send(json!({"other": half})).await.assert_invalid(&[""]);
    let body = json!({"token": first.auth_token()});
    let verified = app.front_end().post(&app.path("verify"), body).await;
    assert_eq!(verified.body["claims"], claims(&first));
    let answer = app.front_end().patch(&own.path, json!({})).await;
    answer.assert_problem(403, "insufficient_key");

    let [ended, foreign] =
        [app.sign().await, other.sign().await].map(|answer| answer.text("session_id"));
    app.logout(json!({"session_id": ended})).await;
    server.advance(7200);
    let expired = first.text("session_id");
    let live = app.sign().await.text("session_id").to_lowercase();
    for id in [ID, &ended, &foreign, &expired, &live, "garbage"] {
        let answer = door(id).send(json!({"role": 1})).await;
        assert_eq!(answer.status, 404, "{id}: {}", answer.raw);
        answer.assert_problem(404, "not_found");
    }
}
