//! Who may do what: every operation of the OpenAPI document with every credential.

use poem::http::Method;
use serde_json::{Map, Value};
use tokio::task::JoinSet;

use crate::support::{Answer, Client, ROOT_KEY, TestApp, TestServer};

const DOCUMENT: &str = include_str!("../../../openapi.json");
/// What an id is that is not the app's.
const NO_SUCH: &str = "01JMWRJEJ71191KP88NDGWVYEW";
const JSON: Option<&str> = Some("application/json");

/// What a caller may present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credential {
    None,
    Garbage,
    Root,
    Secret,
    Publishable,
    /// The registration token of an application, which is a secret key, too.
    Enrolled,
    /// The secret key of another app.
    Foreign,
    /// A secret key whose time is over.
    Expired,
    /// A secret key that was revoked.
    Revoked,
    /// The auth token of a session.
    Token,
}

use Credential::{
    Enrolled, Expired, Foreign, Garbage, None as Nothing, Publishable, Revoked, Root, Secret, Token,
};

const CREDENTIALS: [Credential; 10] = [
    Nothing,
    Garbage,
    Root,
    Secret,
    Publishable,
    Enrolled,
    Foreign,
    Expired,
    Revoked,
    Token,
];

/// Which credentials each security scheme of the document admits. This is the whole table.
fn admitted(scheme: Option<&str>) -> &'static [Credential] {
    match scheme {
        Some("root_key") => &[Root],
        Some("secret_key") => &[Secret, Enrolled],
        Some("publishable_key") => &[Secret, Publishable, Enrolled],
        Some("registration_token") => &[Enrolled],
        Some("auth_token") => &[Token],
        None => &CREDENTIALS,
        Some(other) => panic!("the table has no row for {other}"),
    }
}

/// An operation of the document.
#[derive(Clone)]
struct Operation {
    name: String,
    method: Method,
    path: String,
    scheme: Option<String>,
    /// The query parameters.
    query: Vec<String>,
    /// Those of them that must be there.
    required: Vec<String>,
    /// Whether it wants to know from which page it is called.
    wants_referer: bool,
    /// A body as the document shows it.
    body: Option<Value>,
    /// Whether the document says that a body has no further members.
    is_closed: bool,
    statuses: Vec<u16>,
}

fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap();
        methods
            .iter()
            .map(|(method, operation)| Operation::read(&document, path, method, operation))
    });
    let all: Vec<_> = each.collect();
    assert!(!all.is_empty());
    all
}

impl Operation {
    fn read(document: &Value, path: &str, method: &str, operation: &Value) -> Self {
        let schemes: Vec<_> = operation["security"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|one| one.as_object().unwrap().keys())
            .collect();
        assert!(schemes.len() < 2, "{path} takes several schemes");
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let (query, others): (Vec<_>, Vec<_>) =
            parameters.partition(|parameter| parameter["in"] == "query");
        let name = |one: &&Value| one["name"].as_str().unwrap().to_owned();
        let required = query.iter().filter(|one| one["required"] == true);
        let schema = operation.pointer("/requestBody/content/application~1json/schema/$ref");
        let schema = schema.map(|name| document.pointer(&name.as_str().unwrap()[1..]).unwrap());
        let closed = |schema: &Value| schema["additionalProperties"] == false;
        let example = schema.map(|schema| {
            let mut example = schema["example"].clone();
            // A member that is null is one that was left out.
            let members = example.as_object_mut().unwrap();
            members.retain(|_, value| !value.is_null());
            example
        });
        let statuses = operation["responses"].as_object().unwrap().keys();
        Self {
            name: format!("{method} {path}"),
            method: method.to_uppercase().parse().unwrap(),
            path: path.to_owned(),
            scheme: schemes.first().map(|scheme| (*scheme).clone()),
            query: query.iter().map(name).collect(),
            required: required.map(name).collect(),
            wants_referer: others.iter().any(|one| one["name"] == "Referer"),
            body: example,
            is_closed: schema.is_some_and(closed),
            statuses: statuses.map(|status| status.parse().unwrap()).collect(),
        }
    }

    fn admits(&self, credential: Credential) -> bool {
        admitted(self.scheme.as_deref()).contains(&credential)
    }

    /// The path with `app` for the app, and `other` for every other name.
    fn path(&self, app: &str, other: &str) -> String {
        let segments = self.path.split('/').map(|segment| match segment {
            "{app_id}" => app,
            _ if segment.starts_with('{') => other,
            _ => segment,
        });
        segments.collect::<Vec<_>>().join("/")
    }

    async fn call(&self, client: &Client, path: &str) -> Answer {
        let mut path = path.to_owned();
        for name in &self.required {
            if !path.contains(&format!("?{name}=")) {
                path.push_str(if path.contains('?') { "&" } else { "?" });
                path.push_str(&format!("{name}=a"));
            }
        }
        let referer = |client: &Client| {
            let client = client.clone();
            client.with_header("referer", "https://app.example.com/page")
        };
        let client = &if self.wants_referer {
            referer(client)
        } else {
            client.clone()
        };
        let media = self.body.as_ref().and(JSON);
        let body = self.body.as_ref().map(Value::to_string).unwrap_or_default();
        client.send(self.method.clone(), &path, media, body).await
    }
}

/// A server with an app, another one, and a key of each kind.
struct World {
    server: TestServer,
    app: TestApp,
    other: TestApp,
    expired: String,
    revoked: String,
    enrolled: String,
    token: String,
}

impl World {
    async fn start() -> Self {
        let server = TestServer::start().await;
        let (app, other) = (server.app().await, server.app().await);
        let path = format!("/root/{}/keys", app.id);
        let body =
            |name: &str| serde_json::json!({"kind": "secret", "name": name, "expires_in": 60});
        let expired = server.root().post(&path, body("expired")).await;
        server.advance(60);
        let revoked = server.root().post(&path, body("revoked")).await;
        let path = format!("{path}/{}", revoked.text("id"));
        assert_eq!(server.root().delete(&path).await.status, 200);
        let (expired, revoked) = (expired.text("app_key"), revoked.text("app_key"));
        let token = app.sign().await.auth_token();
        let body = serde_json::json!({"project_code": app.id});
        let registered = server.root().post("/v1/auth/register", body).await;
        let enrolled = registered.text("registration_token");
        Self {
            server,
            app,
            other,
            expired,
            revoked,
            enrolled,
            token,
        }
    }

    fn client(&self, credential: Credential) -> Client {
        let key = match credential {
            Nothing => return self.server.anon(),
            Garbage => "garbage",
            Root => ROOT_KEY,
            Secret => &self.app.secret_key,
            Publishable => &self.app.publishable_key,
            Enrolled => &self.enrolled,
            Foreign => &self.other.secret_key,
            Expired => &self.expired,
            Revoked => &self.revoked,
            Token => &self.token,
        };
        self.server.anon().with_key(key)
    }

    /// Everything that is stored, but for what a refusal notes.
    async fn contents(&self) -> String {
        use sea_orm::EntityTrait;
        let reader = &self.server.app.store.reader;
        let apps = entity::app::Entity::find().all(reader).await.unwrap();
        let keys = entity::app_key::Entity::find().all(reader).await.unwrap();
        let signing = entity::signing_key::Entity::find()
            .all(reader)
            .await
            .unwrap();
        let sessions = entity::session::Entity::find().all(reader).await.unwrap();
        let devices = entity::device::Entity::find().all(reader).await.unwrap();
        let epoch = entity::setting::epoch(reader).await.unwrap();
        let registrations = entity::registration_token::Entity::find();
        let registrations = registrations.all(reader).await.unwrap();
        format!("{apps:?} {keys:?} {signing:?} {sessions:?} {devices:?} {registrations:?} {epoch}")
    }
}

/// Runs `check` for every operation, a few at once: each has a server and a store of its own.
async fn for_each<F: Future<Output = ()> + Send + 'static>(check: impl Fn(Operation) -> F) {
    for operations in operations().chunks(4) {
        let mut checks = JoinSet::new();
        for operation in operations {
            checks.spawn(check(operation.clone()));
        }
        checks.join_all().await;
    }
}

/// Whoever is not admitted is told so, whatever else is wrong, and has changed nothing.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_admitted_does_nothing() {
    for_each(async |operation: Operation| {
        let world = World::start().await;
        let before = world.contents().await;
        for credential in CREDENTIALS {
            if operation.admits(credential) {
                continue;
            }
            let client = world.client(credential);
            let path = operation.path(&world.app.id, NO_SUCH);
            let mut wrong = operation.clone();
            wrong.body = Some(Value::Null);
            for operation in [&operation, &wrong] {
                let answer = operation.call(&client, &path).await;
                let case = format!("{} with {credential:?}: {}", operation.name, answer.raw);
                if operation.scheme.as_deref() == Some("auth_token") {
                    answer.assert_problem(401, "invalid_token");
                    continue;
                }
                assert_eq!(answer.status, 403, "{case}");
                let is_less = match operation.scheme.as_deref() {
                    Some("secret_key") => credential == Publishable,
                    // The key says of which app it is.
                    Some("registration_token") => {
                        [Secret, Publishable, Foreign].contains(&credential)
                    }
                    _ => false,
                };
                answer.assert_problem(
                    403,
                    if is_less {
                        "insufficient_key"
                    } else {
                        "invalid_key"
                    },
                );
            }
        }
        assert_eq!(world.contents().await, before, "{}", operation.name);
    })
    .await;
}

/// Whoever is admitted is never told 403, and gets an answer that the document has.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_admitted_is_answered() {
    for_each(async |operation: Operation| {
        for credential in CREDENTIALS {
            if !operation.admits(credential) {
                continue;
            }
            // What was deleted or replaced would spoil the next one.
            let world = World::start().await;
            let path = operation.path(&world.app.id, NO_SUCH);
            let answer = operation.call(&world.client(credential), &path).await;
            let case = format!("{} with {credential:?}: {}", operation.name, answer.raw);
            assert_ne!(answer.status, 403, "{case}");
            assert!(operation.statuses.contains(&answer.status), "{case}");
            assert!(answer.status < 500, "{case}");
            // The example is good, unless it names something that is not there.
            let names_nothing = operation.path != path.replace(&world.app.id, "{app_id}");
            let ends = ["/renew", "/registration-tokens/refresh", "/devices/session"];
            let takes_a_token = ends.iter().any(|end| operation.path.ends_with(end));
            let names_in_body = operation.body.as_ref().is_some_and(|body| {
                let has = |name| body.get(name).is_some();
                has("project_code") || has("tenant_id")
            });
            if !names_nothing && !names_in_body && !takes_a_token {
                assert_eq!(answer.status, 200, "{case}");
            }
        }
    })
    .await;
}

/// Bad input of any sort is answered as the document says, and never by a failure.
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_has_a_documented_answer() {
    for_each(async |operation: Operation| {
        let world = World::start().await;
        let credential = admitted(operation.scheme.as_deref())[0];
        let client = world.client(credential);
        let good = operation.path(&world.app.id, NO_SUCH);
        let mut answers = Vec::new();
        if let Some(example) = &operation.body {
            let mut unknown = example.clone();
            unknown["a-member-of-nobody"] = Value::Null;
            let answer = client
                .send(operation.method.clone(), &good, JSON, unknown.to_string())
                .await;
            let is_refused = answer.status == 400 && answer.raw.contains("a-member-of-nobody");
            assert_eq!(
                is_refused, operation.is_closed,
                "{}: {}",
                operation.name, answer.raw
            );
            let large = format!("{{\"a\":\"{}\"}}", "x".repeat(65_536));
            let mut bodies = vec![
                (JSON, String::new()),
                (JSON, "{".to_owned()),
                (JSON, "[]".to_owned()),
                (JSON, "null".to_owned()),
                (JSON, "\"\\u0000\"".to_owned()),
                (JSON, unknown.to_string()),
                (JSON, large),
                (Some("text/plain"), example.to_string()),
                (Some("text/plain"), String::new()),
            ];
            for name in example.as_object().unwrap().keys() {
                for wrong in [
                    Value::from(-1),
                    Value::from("\0"),
                    Value::from(vec![1]),
                    Map::new().into(),
                ] {
                    let mut body = example.clone();
                    body[name] = wrong;
                    bodies.push((JSON, body.to_string()));
                }
            }
            for (media, body) in bodies {
                let case = format!("{media:?} {body:.100}");
                let answer = client
                    .send(operation.method.clone(), &good, media, body)
                    .await;
                answers.push((case, answer));
            }
        }
        for name in &operation.query {
            for value in ["", "x", "0", "-1", "999999999999999999999", "%00", "%FF"] {
                let path = format!("{good}?{name}={value}");
                let answer = operation.call(&client, &path).await;
                // A user may be called anything that can be stored, and so may an app.
                if !["sub", "name"].contains(&&**name) || ["", "%00"].contains(&value) {
                    answer.assert_invalid(&[name]);
                }
                answers.push((path, answer));
            }
        }
        let ids = ["x", NO_SUCH, "%00", "01jmwrjej71191kp88ndgwvyew"];
        for path in ids
            .iter()
            .flat_map(|id| [operation.path(id, id), operation.path(&world.app.id, id)])
        {
            if path != good && operation.path.contains('{') {
                answers.push((path.clone(), operation.call(&client, &path).await));
            }
        }
        for (case, answer) in answers {
            let case = format!("{} {case}: {}", operation.name, answer.raw);
            assert!(
                operation.statuses.contains(&answer.status),
                "{} {case}",
                answer.status
            );
            assert!(answer.status < 500, "{case}");
            if answer.status >= 400 {
                let code = answer.text("code");
                answer.assert_problem(answer.status, &code);
            }
        }
    })
    .await;
}

/// A name that is no text is the name of nothing: it is answered as any other one that nothing has.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_no_text_has_a_documented_answer() {
    for_each(async |operation: Operation| {
        let world = World::start().await;
        let client = world.client(admitted(operation.scheme.as_deref())[0]);
        for (app, other) in [("%FF", NO_SUCH), (&*world.app.id, "%FF")] {
            let path = operation.path(app, other);
            if path.contains("%FF") {
                let answer = operation.call(&client, &path).await;
                let case = format!("{}: {}", operation.name, answer.raw);
                assert!(
                    answer.status == 404 || operation.statuses.contains(&answer.status),
                    "{} {case}",
                    answer.status
                );
            }
        }
    })
    .await;
}
