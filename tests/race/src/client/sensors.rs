//! What a device without a user does: its registration token is refreshed, and exchanged for sessions.

use std::sync::Arc;

use hyper::Method;
use serde_json::json;

use super::{App, Client, Kind, Token};
use crate::{
    history::{Claims, Exchange, Loss, Refreshing, Role, Sensor, SensorAnswer},
    wire::{Body, Reply},
};

/// A registration token, and the lineage that it is of.
#[derive(Clone, Debug)]
pub struct Lineage {
    /// A place in the history.
    pub sensor: usize,
    /// The number of the token.
    pub token: usize,
    pub secret: Arc<str>,
    /// The device's name.
    pub name: Arc<str>,
}

impl Client {
    /// Registers a device, anew if it has a token; the first token of its lineage.
    pub async fn register(
        &self,
        node: usize,
        app: &App,
        name: &str,
        before: Option<&Lineage>,
    ) -> Option<Lineage> {
        let path = format!("/workspaces/{}/devices/registration-tokens/create", app.id);
        let key = app.keys.current(Kind::Secret);
        let body = json!({
            "deviceId": name, "allowOnBehalfOfRegistration": false, "audiences": ["race"],
            "claims": {"mark": format!("mark of {name}")},
        });
        if let Some(before) = before {
            self.end_lineage(before);
        }
        let (_, reply) = self
            .ask(node, Method::POST, &path, Some(&key.text), Some(&body))
            .await;
        // Somebody else registers it (409), or it is disabled (423).
        if !matches!(reply.status(), Some(409 | 423)) {
            self.unanswered(&reply, "register");
        }
        let Reply::Answered(200 | 201, body) = reply else {
            return None;
        };
        let secret = body.text("registrationToken")?;
        let sensor = self.history.write(|history| {
            history.sensors.push(Sensor { ending: None });
            history.sensors.len() - 1
        });
        Some(Lineage {
            sensor,
            token: 0,
            secret: secret.into(),
            name: name.into(),
        })
    }

    /// From now on the lineage may be ended by what somebody does.
    pub fn end_lineage(&self, lineage: &Lineage) {
        let now = self.history.now();
        self.history.write(|history| {
            let sensor = &mut history.sensors[lineage.sensor];
            sensor.ending = sensor.ending.or(Some(now));
        });
    }

    /// Refreshes the registration token: what was answered, and the child. `number` is the child's.
    pub async fn refresh(
        &self,
        node: usize,
        token: &Lineage,
        number: usize,
    ) -> (SensorAnswer, Option<Lineage>) {
        let path = "/devices/registration-tokens/refresh";
        let body = json!({"registrationToken": &*token.secret});
        let (span, reply) = self.ask(node, Method::PUT, path, None, Some(&body)).await;
        let child = match &reply {
            Reply::Answered(200 | 201, body) => body.text("registrationToken"),
            _ => None,
        };
        let answer = match (reply.status(), &child) {
            (Some(201), Some(_)) => SensorAnswer::Advanced(number),
            (Some(200), Some(_)) => SensorAnswer::Replaced(number),
            _ => refusal(&reply),
        };
        self.history.write(|history| {
            history.refreshings.push(Refreshing {
                sensor: token.sensor,
                token: token.token,
                span,
                answer,
            });
        });
        let child = child.map(|secret| Lineage {
            token: number,
            secret: secret.into(),
            ..token.clone()
        });
        (answer, child)
    }

    /// Begins a session of the device.
    pub async fn exchange(
        &self,
        node: usize,
        app: &App,
        lineage: &Lineage,
    ) -> Result<Token, SensorAnswer> {
        let path = format!("/app/{}/devices/session", app.id);
        let body = json!({"registration_token": &*lineage.secret});
        let (span, reply) = self.ask(node, Method::POST, &path, None, Some(&body)).await;
        let began = match &reply {
            Reply::Answered(200, body) => {
                // Those of the registration, whatever the device calls itself since.
                let claims = Claims {
                    sub: format!("device:{}", lineage.name),
                    aud: "race".to_owned(),
                    mark: format!("mark of {}", lineage.name),
                    ..Claims::default()
                };
                let began = self.began(app, Role::Sensor, body, span, claims, "exchange");
                began.ok_or(SensorAnswer::Undocumented(200))
            }
            _ => Err(refusal(&reply)),
        };
        self.history.write(|history| {
            history.exchanges.push(Exchange {
                sensor: lineage.sensor,
                token: lineage.token,
                span,
                began: began
                    .as_ref()
                    .map(|token| token.session)
                    .map_err(|error| *error),
            });
        });
        began
    }
}

fn refusal(reply: &Reply) -> SensorAnswer {
    match reply {
        Reply::Unknown => SensorAnswer::Unknown,
        Reply::Unsent => SensorAnswer::Unsent,
        Reply::Answered(503, _) => SensorAnswer::Unavailable,
        Reply::Answered(410, body) => SensorAnswer::Gone(loss(body)),
        Reply::Answered(403 | 412 | 429, _) => SensorAnswer::Refused,
        Reply::Answered(status, _) => SensorAnswer::Undocumented(*status),
    }
}

fn loss(body: &Body) -> Loss {
    match body.text("code").as_deref() {
        Some("registration_token_invalid") => Loss::Invalid,
        Some("registration_token_expired") => Loss::Expired,
        Some("registration_token_revoked") => Loss::Revoked,
        _ => Loss::Unnamed,
    }
}
