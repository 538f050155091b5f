//! What surrounds every operation: problem documents, request ids, caching, CORS, and a store that is down.

use poem::http::Method;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::{Answer, Client, TestApp, TestServer, new_session};

const JSON: Option<&str> = Some("application/json");
const ORIGIN: &str = "https://app.example.com";
const LOCAL: &str = "http://localhost:3000";
const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const EXPOSED: &str = "etag, retry-after, x-request-id";
const METHODS: &str = "GET, POST, PUT, PATCH";
const HEADERS: &str = "authorization, content-type, if-none-match, x-request-id";

/// Sends `line`, a method and a path, without a body.
async fn call(client: &Client, line: &str) -> Answer {
    let (method, path) = line.split_once(' ').unwrap();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    client.send(method, path, None, Vec::new()).await
}

async fn start() -> (TestServer, TestApp) {
    let server = TestServer::start().await;
    let origins = json!({"allowed_origins": [ORIGIN, LOCAL]});
    let app = server.app_with(origins).await;
    (server, app)
}

async fn post(client: &Client, path: &str, media: Option<&str>, body: &str) -> Answer {
    let body = body.to_owned();
    client.send(Method::POST, path, media, body).await
}

fn with(client: &Client, name: &str, value: &str) -> Client {
    client.clone().with_header(name, value)
}

/// Asserts the whole document; first its status and code, so that a failure names its case.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, code: &str, case: &str) {
    assert_eq!(answer.status, status, "{case}: {}", answer.raw);
    assert_eq!(answer.body["code"], code, "{case}");
    answer.assert_problem(status, code);
}

#[track_caller]
fn assert_headers(answer: &Answer, expected: &[(&str, Option<&str>)], case: &str) {
    for (name, value) in expected {
        assert_eq!(answer.header(name), *value, "{case}: {name}");
    }
}

/// Asserts a problem that has no further members, and so tells nothing of its cause.
#[track_caller]
fn assert_constant(answer: &Answer, status: u16, code: &str, message: &str, case: &str) {
    assert_problem(answer, status, code, case);
    assert_eq!(answer.body["message"], message, "{case}");
    assert_eq!(answer.body.as_object().unwrap().len(), 6, "{}", answer.raw);
}

/// RFC 9110 sections 15.5.5 and 15.5.6: the framework's own refusals are problem documents as well.
#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let (server, app) = start().await;
    let unknown = "/nothing /ping/ /root /root/ /app /app/ /docs/nothing.js /app/ID/ /app/ID/nothing \
                   /app/ID/sign/ /app/ID/sessions /app/ID/sessions/ /app/ID/.well-known /app/ID/.well-known/";
    for path in unknown.split(' ') {
        let path = path.replace("ID", &app.id);
        for method in ["GET", "OPTIONS", "BREW"] {
            let answer = call(&app.backend(), &format!("{method} {path}")).await;
            assert_problem(&answer, 404, "not_found", &path);
        }
    }
    let posted = "GET /app/ID/sign|HEAD /app/ID/sign|BREW /app/ID/renew|PUT /root/create";
    let got = "POST /app/ID/pub-keys|DELETE /root/list|OPTIONS /ping|TRACE /openapi.json";
    for (allowed, lines) in [
        ("POST", posted),
        ("GET, HEAD", got),
        ("PATCH", "GET /app/ID/sessions/01JMWRJEJ71191KP88NDGWVYEW"),
        ("DELETE, PATCH", "PUT /root/01JMWRJEJ71191KP88NDGWVYEW"),
    ] {
        for line in lines.split('|') {
            let answer = call(&server.anon(), &line.replace("ID", &app.id)).await;
            assert_problem(&answer, 405, "method_not_allowed", line);
            assert_headers(&answer, &[("allow", Some(allowed))], line);
        }
    }
    for path in "/ /ping /livez /health /openapi.json".split(' ') {
        let get = server.anon().get(path).await;
        let head = call(&server.anon(), &format!("HEAD {path}")).await;
        assert_eq!((get.status, head.status), (200, 200), "{path}");
        assert_headers(&head, &[("content-type", get.header("content-type"))], path);
        assert_eq!(head.raw, "", "{path}");
    }
}

/// A panic is a failure as any other: told in the ways of its path, and not what it was.
#[tokio::test]
async fn a_panic_is_answered() {
    let (server, app) = start().await;
    // The edge itself does not ask the clock when a request brings its id.
    let client = with(&app.front_end(), "x-request-id", "of-a-test");
    let page = with(&client, "origin", ORIGIN);
    // The clock of the tests adds what passed to what was set: here it cannot.
    server.set_clock(i64::MAX / 1000);
    for (client, path, allowed) in [
        (&client, "pub-keys", None),
        (&page, ".well-known/jwks.json", Some("*")),
        // What is asked before the operation panics, too: it is not known then who may read the answer.
        (&page, "pub-keys", None),
    ] {
        let answer = client.get(&app.path(path)).await;
        assert_problem(&answer, 500, "internal", path);
        assert_headers(&answer, &[(ALLOW_ORIGIN, allowed)], path);
        assert!(!answer.raw.contains("panic"), "{}", answer.raw);
    }
}

/// RFC 9110 section 9.2.1: a GET that changes something is none that a HEAD could stand for; every other one is.
#[tokio::test]
async fn a_head_changes_nothing() {
    let (server, app) = start().await;
    let document: Value = serde_json::from_str(&renewd::api::openapi()).unwrap();
    let mut refused = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let Some(get) = operations.get("get") else {
            continue;
        };
        let path = path.replace("{app_id}", &app.id);
        let path = path.replace("{device_id}", "01JMWRJEJ71191KP88NDGWVYEW");
        let client = if path.starts_with("/root") {
            server.root()
        } else {
            app.backend()
        };
        let head = call(&client, &format!("HEAD {path}")).await;
        if get["deprecated"] == true {
            assert_eq!(head.status, 405, "{path}");
            assert_headers(&head, &[("allow", Some("GET, POST"))], &path);
            refused.push(path);
        } else {
            assert_eq!(head.status, client.get(&path).await.status, "{path}");
            assert!(head.status != 405, "{path}");
        }
    }
    assert_eq!(refused.len(), 3, "{refused:?}");
    // Nothing was replaced: the keys are good as before.
    assert_eq!(server.root().get("/root/list").await.status, 200);
    assert_eq!(app.backend().get(&app.path("pub-keys")).await.status, 200);
    let keys = app.backend().get(&app.path("pub-keys")).await;
    assert_eq!(keys.body["keys"].as_array().unwrap().len(), 1);
}

/// Whatever was sent, at most twenty errors come back, and little of what was sent.
#[tokio::test]
async fn an_answer_to_garbage_is_short() {
    let (server, app) = start().await;
    let unknown: String = (0..5000).map(|index| format!("\"u{index}\":1,")).collect();
    let long = "n".repeat(60_000);
    let strings = vec!["x"; 12_000];
    let claims: Value = (0..20_000).map(|_| json!(1)).collect();
    let path = app.path("sign");
    for (client, path, body) in [
        (
            server.root(),
            "/root/create",
            format!("{{{unknown}\"a\":1}}"),
        ),
        (server.root(), "/root/create", format!("{{\"{long}\":1}}")),
        (
            server.root(),
            "/root/create",
            json!({"name": long}).to_string(),
        ),
        (
            server.root(),
            "/root/create",
            json!({"algo": long}).to_string(),
        ),
        (
            server.root(),
            "/root/create",
            json!({"allowed_origins": claims}).to_string(),
        ),
        (
            server.root(),
            "/root/create",
            json!({"allowed_origins": strings}).to_string(),
        ),
        (
            app.backend(),
            &path,
            json!({"sub": "a", "aud": claims}).to_string(),
        ),
        (app.backend(), &path, json!({long.clone(): 1}).to_string()),
        (app.backend(), &path, format!("{{\"{long}\":}}")),
        (
            app.mobile(),
            "/events",
            json!({"country": long[30_000..], "timezone": long[35_000..]}).to_string(),
        ),
    ] {
        let answer = post(&client, path, JSON, &body).await;
        assert_eq!(answer.status, 400, "{}", answer.raw);
        let errors = answer.body["errors"].as_array().map_or(0, Vec::len);
        assert!(errors <= 20, "{errors}");
        assert!(answer.raw.len() < 8000, "{} bytes", answer.raw.len());
        let is_full = answer.body["detail"] == "Only the first 20 errors are shown.";
        assert!(errors == 20 || !is_full, "{}", answer.raw);
    }
    let body = format!("{{{unknown}\"a\":1}}");
    let answer = post(&server.root(), "/root/create", JSON, &body).await;
    assert_eq!(answer.body["errors"].as_array().unwrap().len(), 20);
    assert_eq!(answer.body["detail"], "Only the first 20 errors are shown.");
}

/// A path names a thing, and there is none of that name; a query is input, and wrong.
#[tokio::test]
async fn bad_parameters() {
    let (server, app) = start().await;
    let root = server.root();
    let (lower, unknown) = (app.id.to_lowercase(), "01JMWRJEJ71191KP88NDGWVYEU");
    for id in ["garbage", &lower, &app.id[1..], "%00", unknown] {
        for line in ["DELETE /root/ID", "GET /app/ID/.well-known/jwks.json"] {
            let answer = call(&root, &line.replace("ID", id)).await;
            assert_problem(&answer, 404, "not_found", id);
        }
        let answer = root.patch(&format!("/root/{id}"), json!({})).await;
        assert_problem(&answer, 404, "not_found", id);
        // Whether there is such an app is told to the holders of its keys only.
        let answer = app.backend().get(&format!("/app/{id}")).await;
        assert_problem(&answer, 403, "invalid_key", id);
    }
    for query in "limit=0 limit=501 limit=-1 limit=x limit= limit=1.5 cursor=x".split(' ') {
        let answer = root.get(&format!("/root/list?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.raw);
        answer.assert_invalid(&[query.split('=').next().unwrap()]);
    }
    for (path, message) in [
        ("/root/list?limit=0".to_owned(), "must be at least 1"),
        ("/root/list?limit=501".to_owned(), "must be at most 500"),
        (app.path("push-targets"), "is required"),
    ] {
        let client = if path.starts_with("/root") {
            root.clone()
        } else {
            app.backend()
        };
        let answer = client.get(&path).await;
        assert_eq!(
            answer.body["errors"][0]["error_message"], message,
            "{}",
            answer.raw
        );
    }
}

/// RFC 9110 section 15.5.16. Parameters of the media type, and other types of JSON, are fine.
#[tokio::test]
async fn a_body_is_json_by_its_media_type() {
    let (_server, app) = start().await;
    let (client, path, body) = (app.backend(), app.path("verify"), r#"{"token":"x"}"#);
    let taken = "application/json|application/json; charset=utf-8|APPLICATION/JSON;charset=UTF-8|\
                 application/vnd.api+json|application/merge-patch+json; a=b";
    for media in taken.split('|') {
        let answer = post(&client, &path, Some(media), body).await;
        assert_eq!(answer.status, 200, "{media}");
        assert_eq!(answer.body, json!({"verified": false}), "{media}");
    }
    let refused = "|text/plain|text/json|application/jsonp|application/x-www-form-urlencoded|image/svg+xml|\
                   multipart/form-data; boundary=application/json";
    for media in refused.split('|').map(Some).chain([None]) {
        let answer = post(&client, &path, media, body).await;
        let case = format!("{media:?}");
        assert_problem(&answer, 415, "unsupported_media_type", &case);
    }
}

/// Text that is no JSON (RFC 8259) is one thing, JSON of another shape another.
#[tokio::test]
async fn malformed_bodies() {
    let (_server, app) = start().await;
    let client = app.backend();
    let malformed = "| |{|}|{]|nul|{'a':1}|{} {}|\u{feff}{}|{\"a\":}|{\"a\":NaN}|{\"a\":1,}|{\"a\":1e999}|\
                     {\"a\":\"\n\"}|{\"a\":\"\\ud800\"}|{\"a\":\"\\x\"}|{\"a\":01}";
    for rest in "sign renew verify logout get-session".split(' ') {
        let path = app.path(rest);
        let shapes = "null|[]|5|\"x\"|true";
        for (bodies, code) in [(malformed, "malformed_json"), (shapes, "invalid_request")] {
            for body in bodies.split('|') {
                let answer = post(&client, &path, JSON, body).await;
                assert_problem(&answer, 400, code, &format!("{rest} {body:?}"));
            }
        }
    }
}

/// RFC 9110 section 15.5.14: 64 KiB and no more, whether the length is announced or not.
#[tokio::test]
async fn bodies_have_a_limit() {
    let (_server, app) = start().await;
    let (client, path) = (app.backend(), app.path("verify"));
    for (bytes, status) in [(65_536, 200), (65_537, 413), (1 << 20, 413)] {
        let body = json!({"token": "x".repeat(bytes - 12)}).to_string();
        let announced = with(&client, "content-length", &bytes.to_string());
        let stream = poem::Body::from_async_read(std::io::Cursor::new(body.clone().into_bytes()));
        for answer in [
            post(&announced, &path, JSON, &body).await,
            client.send(Method::POST, &path, JSON, stream).await,
        ] {
            assert_eq!(answer.status, status, "{bytes}: {}", answer.raw);
            if status == 413 {
                answer.assert_problem(413, "body_too_large");
            }
        }
    }
}

/// A request keeps its name when that is harmless in a log. What may be kept by a cache says so itself.
#[tokio::test]
async fn every_answer_has_a_request_id_and_says_who_may_keep_it() {
    let (server, app) = start().await;
    let anon = server.anon();
    for sane in ["a", "Req_1.2-3", &"z".repeat(64)] {
        let answer = with(&anon, "x-request-id", sane).get("/nothing").await;
        assert_eq!(answer.header("x-request-id"), Some(sane));
    }
    let is_ours = |answer: &Answer| {
        let id = answer.header("x-request-id").unwrap();
        id.parse::<entity::RequestId>().is_ok()
    };
    let long = "z".repeat(65);
    for other in "|a b|a/b|a:b|a,b|<b>|\"a\"|a%0a".split('|').chain([&*long]) {
        let answer = with(&anon, "x-request-id", other).get("/ping").await;
        assert!(is_ours(&answer), "{other:?}");
    }
    let jwks = app.path(".well-known/jwks.json");
    let known = with(&anon, "if-none-match", "*");
    let page = with(&app.front_end(), "origin", ORIGIN);
    let preflight = with(&page, "access-control-request-method", "POST");
    for (answer, status, cache) in [
        (anon.get("/ping").await, 200, "no-store"),
        (anon.get("/openapi.json").await, 200, "no-store"),
        (page.get(&app.path("pub-keys")).await, 200, "no-store"),
        (call(&preflight, "OPTIONS /app/").await, 204, "no-store"),
        (app.renew("garbage").await, 400, "no-store"),
        (anon.get("/root/list").await, 403, "no-store"),
        (anon.get(&jwks.replace("01", "02")).await, 404, "no-store"),
        (anon.get(&jwks).await, 200, "public, max-age=300"),
        (known.get(&jwks).await, 304, "public, max-age=300"),
    ] {
        assert_eq!(answer.status, status, "{}", answer.raw);
        assert!(is_ours(&answer), "{}", answer.raw);
        assert_headers(&answer, &[("cache-control", Some(cache))], &answer.raw);
    }
}

/// RFC 7517 and RFC 9110 section 13.1.2: public members only, and conditional requests.
#[tokio::test]
async fn jwks_is_public_and_conditional() {
    let server = TestServer::start_with(|config| config.jwks_max_age = 77).await;
    let app = server.app().await;
    let path = app.path(".well-known/jwks.json");
    let mut answer = server.anon().get(&path).await;
    let etag = answer.header("etag").unwrap().to_owned();
    let quoted = etag.strip_prefix('"').unwrap();
    let opaque = quoted.strip_suffix('"').unwrap();
    let media = answer.header("content-type");
    assert_eq!(media, Some("application/json; charset=utf-8"));
    let [x, y] = ["x", "y"].map(|name| answer.body["keys"][0][name].take());
    assert_eq!(
        [x, y].map(|number| number.as_str().unwrap().len()),
        [43, 43]
    );
    let expected = json!({"keys": [{"kid": app.sign().await.text("key_id"), "alg": "ES256", "use": "sig",
        "kty": "EC", "crv": "P-256", "x": null, "y": null}]});
    assert_eq!(answer.body, expected);
    for (tags, status) in [
        (etag.as_str(), 304),
        (&format!("W/{etag}"), 304),
        (&format!("\"other\", W/\"another\" ,{etag}"), 304),
        ("*", 304),
        ("\"other\"", 200),
        (opaque, 200),
        ("", 200),
    ] {
        let answer = with(&server.anon(), "if-none-match", tags).get(&path).await;
        assert_eq!(answer.status, status, "{tags}");
        assert_eq!(answer.raw.is_empty(), status == 304, "{tags}");
        let cache = ("cache-control", Some("public, max-age=77"));
        assert_headers(&answer, &[cache, ("etag", Some(&etag))], tags);
    }
}

/// A page of an origin that the app names reads every answer, also the errors; others get none.
#[tokio::test]
async fn allowed_origins_read_every_answer() {
    let (server, app) = start().await;
    let (page, backend) = (app.front_end(), app.backend());
    let wrong = server.anon().with_key("wrong");
    for origin in [ORIGIN, LOCAL] {
        for (client, line, status) in [
            (&page, "GET pub-keys", 200),
            (&page, "POST verify", 415),
            (&page, "GET nothing", 404),
            (&page, "GET renew", 405),
            (&page, "POST sign", 403),
            (&wrong, "GET pub-keys", 403),
        ] {
            let client = with(client, "origin", origin);
            let answer = call(&client, &line.replace(' ', &format!(" {}", app.path("")))).await;
            assert_eq!(answer.status, status, "{line}: {}", answer.raw);
            let expected = [
                (ALLOW_ORIGIN, Some(origin)),
                ("access-control-expose-headers", Some(EXPOSED)),
                ("vary", Some("Origin")),
            ];
            assert_headers(&answer, &expected, line);
        }
    }
    let path = app.path("pub-keys");
    let unread = [
        (ALLOW_ORIGIN, None),
        ("access-control-expose-headers", None),
        ("vary", Some("Origin")),
    ];
    let others = "null||https://evil.example|http://app.example.com|https://app.example.com:8443|\
                  https://app.example.com.evil.example|https://app.example.com/|HTTPS://APP.EXAMPLE.COM";
    for origin in others.split('|') {
        let answer = with(&page, "origin", origin).get(&path).await;
        assert_problem(&answer, 403, "origin_not_allowed", origin);
        // The page is told why it is refused, and reads nothing else.
        let read = [
            (ALLOW_ORIGIN, Some(origin)),
            ("access-control-allow-credentials", None),
            ("access-control-expose-headers", Some(EXPOSED)),
            ("vary", Some("Origin")),
        ];
        assert_headers(&answer, &read, origin);
        let session = app.path("devices/session");
        for (client, line, status) in [
            (&wrong, "GET pub-keys", 403),
            (&server.anon(), "GET pub-keys", 403),
            (&page, "GET nothing", 404),
            (&page, "GET renew", 405),
            // A secret key is no browser's: what comes with it as Origin does not bind it.
            (&backend, "GET pub-keys", 200),
            (&backend, "POST verify", 415),
        ] {
            let client = with(client, "origin", origin);
            let answer = call(&client, &line.replace(' ', &format!(" {}", app.path("")))).await;
            assert_eq!(answer.status, status, "{line}: {}", answer.raw);
            assert_headers(&answer, &unread, line);
        }
        let garbage = json!({"registration_token": "garbage", "aud": "a"});
        let answer = with(&page, "origin", origin).post(&session, garbage).await;
        assert_eq!(answer.status, 410, "{}", answer.raw);
        assert_headers(&answer, &unread, origin);
    }
    assert_eq!(page.get(&path).await.status, 200, "no Origin, no browser");
}

/// The preflight of the Fetch standard: none for administration; the public keys are for all. Where a key is needed it
/// succeeds for everybody, so that the page can read why the request itself is refused.
#[tokio::test]
async fn preflights() {
    let (server, app) = start().await;
    let (anon, jwks) = (server.anon(), ".well-known/jwks.json");
    for (origin, rest, allowed) in [
        (ORIGIN, "renew", Some(ORIGIN)),
        (
            "https://evil.example",
            "renew",
            Some("https://evil.example"),
        ),
        ("https://evil.example", "", Some("https://evil.example")),
        (ORIGIN, "devices/session", Some(ORIGIN)),
        ("https://evil.example", "devices/session", None),
        (ORIGIN, jwks, Some("*")),
        ("https://evil.example", jwks, Some("*")),
    ] {
        let page = with(&anon, "origin", origin);
        let preflight = with(&page, "access-control-request-method", "POST");
        let answer = call(&preflight, &format!("OPTIONS {}", app.path(rest))).await;
        assert_eq!((answer.status, answer.raw.as_str()), (204, ""), "{origin}");
        let expected = [
            (ALLOW_ORIGIN, allowed),
            ("access-control-allow-methods", allowed.and(Some(METHODS))),
            ("access-control-allow-headers", allowed.and(Some(HEADERS))),
            ("access-control-max-age", allowed.and(Some("600"))),
            ("access-control-allow-credentials", None),
            ("vary", Some("Origin")),
        ];
        assert_headers(&answer, &expected, origin);
        let keys = page.get(&app.path(jwks)).await;
        assert_eq!(keys.status, 200);
        assert_headers(&keys, &[(ALLOW_ORIGIN, Some("*"))], origin);

        let root = with(&server.root(), "origin", origin);
        let preflight = with(&root, "access-control-request-method", "GET");
        let listed = root.get("/root/list").await;
        let refused = call(&preflight, "OPTIONS /root/list").await;
        for (answer, status) in [(listed, 200), (refused, 405)] {
            assert_eq!(answer.status, status, "{}", answer.raw);
            let shown = format!("{:?}", answer.headers);
            assert!(!shown.contains("access-control"), "{shown}");
        }
    }
}

/// An outage is 503 with Retry-After for a good key, whether it is in memory or not.
#[tokio::test]
async fn a_store_that_is_down_signs_nobody_out() {
    for outage in ["app in memory", "app not in memory", "store closed"] {
        let server = TestServer::start().await;
        let app = server
            .app_with(json!({"allowed_origins": [ORIGIN, LOCAL]}))
            .await;
        let first = app.sign().await;
        assert_eq!(server.root().get("/root/list").await.status, 200);
        let store = &server.app.store;
        for connections in [
            &store.reader,
            &store.writer,
            &store.renewing,
            &store.watching,
        ] {
            connections.close().await.unwrap();
        }
        match outage {
            "app not in memory" => server.app.directory.drop_all(),
            "store closed" => store.close().await.unwrap(),
            _ => {}
        }

        let token = json!({"token": first.auth_token()});
        let renew = json!({"refresh_token": first.refresh_token(), "ip": "::1", "useragent": "a"});
        let session = format!("PATCH /app/ID/sessions/{}", first.text("session_id"));
        let event = app.event("T1", None);
        let swap = json!({"tenant_id": app.id, "api_key": app.publishable_key, "old_token": "a", "new_token": "b"});
        let signed_in = server.anon().with_key(&first.auth_token());
        let signed_in = with(&signed_in, "referer", ORIGIN);
        let kecak = "GET /web/json/plugin/com.kinnara.kecakplugins.mobileapi.CheckTokenApi/service";
        let (backend, root) = (app.backend(), server.root());
        for (client, line, body) in [
            (&backend, "POST /app/ID/sign", new_session()),
            (&backend, "POST /app/ID/renew", renew),
            (&app.front_end(), "POST /app/ID/verify", token.clone()),
            (&app.front_end(), "POST /app/ID/logout", token),
            (&backend, "POST /app/ID/get-session", json!({"sub": "a"})),
            (&backend, &session, json!({"role": 1})),
            (&server.anon(), "POST /events", event),
            (&server.anon(), "POST /devices/refresh-token", swap),
            (&signed_in, kecak, Value::Null),
            (&backend, "GET /app/ID/devices", Value::Null),
            (&backend, "GET /app/ID/push-targets?sub=a", Value::Null),
            (&root, "GET /root/list", Value::Null),
            (&root, "PATCH /root/ID", json!({})),
            (&root, "DELETE /root/ID", Value::Null),
        ] {
            let (method, path) = line.split_once(' ').unwrap();
            let (method, path) = (method.parse().unwrap(), path.replace("ID", &app.id));
            let answer = client.send_json(method, &path, body).await;
            let case = format!("{line}, {outage}");
            assert_constant(&answer, 503, "unavailable", "unavailable", &case);
        }
        let anon = server.anon();
        for path in ["/health", "/readyz"] {
            let answer = anon.get(path).await;
            assert_constant(&answer, 503, "unavailable", "db-down", path);
        }
        for (path, body) in [("/livez", r#"{"status":"ok"}"#), ("/ping", "pong")] {
            let answer = anon.get(path).await;
            assert_eq!((answer.status, answer.raw.as_str()), (200, body));
        }
    }
}

/// A 5xx tells nothing of its cause: the log does, under the request id.
#[tokio::test]
async fn a_defect_is_not_shown() {
    let (server, app) = start().await;
    let session = app.path(&format!("sessions/{}", app.sign().await.text("session_id")));
    let damages = "UPDATE session SET claims = 'secret'|ALTER TABLE session RENAME TO elsewhere";
    for damage in damages.split('|') {
        let writer = &server.app.store.writer;
        writer.execute_unprepared(damage).await.unwrap();
        let answer = app.backend().patch(&session, json!({"role": 1})).await;
        assert_constant(&answer, 500, "internal", "internal error", damage);
    }
}
