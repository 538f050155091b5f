//! The OpenAPI document: fresh, and whole.

use serde_json::Value;

use crate::support::TestServer;

const COMMITTED: &str = include_str!("../../../openapi.json");

/// Whose key is in the body.
const KEYED_INSIDE: [&str; 2] = ["post /devices/refresh-token", "post /events"];

fn document() -> Value {
    serde_json::from_str(COMMITTED).unwrap()
}

fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap();
        operations
            .iter()
            .map(move |(method, operation)| (format!("{method} {path}"), operation))
    })
}

/// `renewd openapi > openapi.json` makes it anew.
#[tokio::test]
async fn the_committed_document_is_the_one_that_is_served() {
    let served = TestServer::start().await.anon().get("/openapi.json").await;
    assert_eq!(served.status, 200);
    assert_eq!(served.header("content-type"), Some("application/json"));
    assert!(served.raw == COMMITTED.trim_end(), "openapi.json is stale");
}

/// Swagger UI shows the sections in this order: what every user needs first, other systems last.
#[test]
fn sessions_and_keys_come_first() {
    let document = document();
    let tags = document["tags"].as_array().unwrap().iter();
    let tags: Vec<_> = tags.map(|tag| tag["name"].as_str().unwrap()).collect();
    let expected = [
        "Sessions",
        "Keys",
        "Devices",
        "Administration",
        "Service",
        "SmartAppPush",
        "Kecak",
        "Scaem",
        "Spotflow",
    ];
    assert_eq!(tags, expected);
}

#[test]
fn a_change_says_what_null_removes() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let description = schemas["UpdateRequest"]["description"].as_str().unwrap();
    for (name, property) in schemas["CreateRequest"]["properties"].as_object().unwrap() {
        let is_removable = property["nullable"] == true;
        let is_named = description.contains(&format!("`{name}`"));
        assert_eq!(is_removable, is_named, "{name}");
    }
}

#[test]
fn every_body_has_an_example_and_every_error_is_a_problem() {
    let document = document();
    let mut count = 0;
    for (name, operation) in operations(&document) {
        count += 1;
        for member in ["operationId", "summary", "tags"] {
            assert!(operation.get(member).is_some(), "{name} has no {member}");
        }
        let bodies = operation.pointer("/requestBody/content").into_iter();
        let answers = operation["responses"].as_object().unwrap();
        let bodies = bodies.chain(answers.values().filter_map(|answer| answer.get("content")));
        for (media_type, content) in bodies.flat_map(|content| content.as_object().unwrap()) {
            let Some(reference) = content["schema"]["$ref"].as_str() else {
                assert!(
                    name.ends_with("jwks.json") || media_type.starts_with("text/plain"),
                    "{name} has a body without a name"
                );
                continue;
            };
            let schema = document.pointer(&reference[1..]).unwrap();
            assert!(
                schema.get("example").is_some(),
                "{reference} has no example"
            );
        }
        let errors = answers
            .iter()
            .filter(|(status, _)| status.as_str() >= "400");
        for (status, error) in errors {
            let reference = "/content/application~1problem+json/schema/$ref";
            let schema = error.pointer(reference).and_then(Value::as_str);
            assert_eq!(
                schema,
                Some("#/components/schemas/Problem"),
                "{name} {status}"
            );
        }
        assert!(answers.contains_key("500"), "{name}");
        // A key that is wrong; a device that is disabled.
        let is_keyed = operation.get("security").is_some() || KEYED_INSIDE.contains(&&*name);
        let is_of_a_device = answers.contains_key("412");
        assert_eq!(
            answers.contains_key("403"),
            is_keyed || is_of_a_device,
            "{name}"
        );
        let has_body = operation.get("requestBody").is_some();
        for status in ["413", "415"] {
            assert_eq!(answers.contains_key(status), has_body, "{name} {status}");
        }
    }
    assert_eq!(count, 51);
}

/// A client that is generated from the document takes a null where one may come.
#[test]
fn what_may_be_null_says_so() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut count = 0;
    for (name, schema) in schemas {
        let members = schema["properties"].as_object().into_iter().flatten();
        for (member, property) in members {
            let shown = schema["example"].get(member);
            if shown.is_some_and(Value::is_null) {
                assert_eq!(property["nullable"], true, "{name}.{member}");
                count += 1;
            }
        }
    }
    assert!(count > 10);
}

/// What may be done without a key stands here by name.
#[test]
fn every_other_operation_needs_a_key() {
    let document = document();
    let open: Vec<_> = operations(&document)
        .filter(|(_, operation)| operation.get("security").is_none())
        .map(|(name, _)| name)
        .filter(|name| !KEYED_INSIDE.contains(&&**name))
        .collect();
    assert_eq!(
        open,
        [
            "get /app/{app_id}/.well-known/jwks.json",
            // With a registration token, both.
            "post /app/{app_id}/devices/session",
            "put /devices/registration-tokens/refresh",
            "get /health",
            "get /livez",
            "get /ping",
            "get /readyz",
        ]
    );
}

/// No page of it asks for anything from another host.
#[tokio::test]
async fn the_pages_work_offline() {
    let server = TestServer::start().await;
    let front = server.anon().get("/").await;
    assert_eq!(front.status, 200);
    assert_eq!(
        front.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    for page in ["docs", "openapi.json"] {
        assert!(
            front.raw.contains(&format!("href=\"{page}\"")),
            "{}",
            front.raw
        );
        assert_eq!(server.anon().get(&format!("/{page}")).await.status, 200);
    }
    let page = server.anon().get("/docs").await;
    assert_eq!(page.status, 200);
    assert!(page.raw.contains("SwaggerUIBundle("));
    assert!(page.raw.contains("/app/{app_id}/renew"));
    for outside in ["src=\"http", "src='http", "href=\"http", "@import"] {
        let head = page.raw.split("let spec").next().unwrap();
        assert!(!head[..2000].contains(outside), "{outside}");
    }
}
