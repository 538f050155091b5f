//! A client: one connection, a share of the sessions, one request under way at a time.

use std::{mem, sync::Arc};

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::{
    app::BenchApp,
    connection::{Address, Connection, Endpoint},
    course::{Course, Phase, micros_since},
    failure::{Done, Failure},
    options::{Load, Operation},
    sample::Sample,
    token::forge,
    wire::{Answer, Grant, Verified},
};

/// Of the pairs of tokens, one in so many is verified, and so many in all at least.
const SAMPLE_EVERY: u64 = 100;
const SAMPLES: u64 = 10;

const IP: &str = "203.0.113.7";
const USER_AGENT: &str = "Mozilla/5.0";

pub struct Client {
    connection: Connection,
    calls: Arc<Calls>,
    sessions: Vec<Session>,
    /// The session whose turn it is.
    turn: usize,
    /// Pairs of tokens that were granted.
    granted: u64,
    pub measured: Measured,
}

/// What came of a window.
#[derive(Default)]
pub struct Measured {
    /// µs of each operation that was done.
    pub latencies: Vec<u32>,
    /// Answers that were 503.
    pub unavailable: u64,
    /// To be verified when nothing is measured.
    pub samples: Vec<Sample>,
}

struct Session {
    sub: String,
    id: String,
    auth_token: String,
    refresh_token: String,
    /// The refresh token before.
    used: Option<String>,
}

/// What is the same for all clients.
struct Calls {
    sign: Endpoint,
    renew: Endpoint,
    verify: Endpoint,
    /// The end of each body of `sign`, after the subject.
    claims: String,
    app_id: String,
    /// The first so many pairs of each client are among the samples.
    first_samples: u64,
}

#[derive(Clone, Copy)]
enum Answered {
    Done,
    Unavailable,
}

impl Client {
    /// Connects all of them.
    pub async fn connect(address: &Address, app: &BenchApp, load: &Load) -> Done<Vec<Self>> {
        let endpoint = |verb| {
            let path = format!("/app/{}/{verb}", app.id);
            Endpoint::new(address, Method::POST, &path, &app.secret_key)
        };
        let calls = Arc::new(Calls {
            sign: endpoint("sign")?,
            renew: endpoint("renew")?,
            verify: endpoint("verify")?,
            claims: claims(),
            app_id: app.id.clone(),
            first_samples: SAMPLES.div_ceil(u64::from(load.connections)),
        });
        let mut clients = Vec::new();
        for _ in 0..load.connections {
            clients.push(Self {
                connection: Connection::open(address).await?,
                calls: calls.clone(),
                sessions: Vec::new(),
                turn: 0,
                granted: 0,
                measured: Measured::default(),
            });
        }
        Ok(clients)
    }

    /// Begins a session of its own for this subject.
    pub async fn begin_session(&mut self, sub: String) -> Done {
        let answer = self.sign(&sub).await?;
        let grant: Grant<'_> = answer.read("begin a session")?;
        self.sample(&grant, &sub);
        self.sessions.push(Session {
            id: grant.session_id.to_owned(),
            auth_token: grant.auth_token.to_owned(),
            refresh_token: grant.refresh_token.to_owned(),
            used: None,
            sub,
        });
        Ok(())
    }

    /// Does one operation after the other until the course ends.
    pub async fn run(mut self, operation: Operation, course: Arc<Course>) -> Done<Self> {
        while let Some(due) = course.next().await {
            let done = match operation {
                Operation::Renew => self.renew_next().await?,
                Operation::Sign => self.sign_next().await?,
                Operation::Verify => self.verify_next().await?,
                Operation::Forged => self.forge_next().await?,
            };
            self.turn = (self.turn + 1) % self.sessions.len();
            course.count();
            match (course.phase(), done) {
                (Phase::WarmUp, _) => {}
                (Phase::Window, Answered::Done) => self.measured.latencies.push(micros_since(due)),
                (Phase::Window, Answered::Unavailable) => self.measured.unavailable += 1,
                (Phase::Over, _) => break,
            }
        }
        Ok(self)
    }

    async fn renew_next(&mut self) -> Done<Answered> {
        let what = "renew a session";
        let presented = &self.sessions[self.turn].refresh_token;
        let body = renewal(presented);
        let answer = self.connection.exchange(&self.calls.renew, body).await?;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(Answered::Unavailable);
        }
        let grant: Grant<'_> = answer.read(what)?;
        if grant.refresh_token == presented {
            return Err(Failure::of(
                "a renewal was answered with the refresh token that was presented",
            ));
        }
        if grant.session_id != self.sessions[self.turn].id {
            return Err(Failure::of(
                "a renewal was answered with the tokens of another session",
            ));
        }
        let next = grant.refresh_token.to_owned();
        self.sample_turn(&grant);
        let session = &mut self.sessions[self.turn];
        session.used = Some(mem::replace(&mut session.refresh_token, next));
        Ok(Answered::Done)
    }

    async fn sign_next(&mut self) -> Done<Answered> {
        let sub = mem::take(&mut self.sessions[self.turn].sub);
        let answer = self.sign(&sub).await?;
        self.sessions[self.turn].sub = sub;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(Answered::Unavailable);
        }
        self.sample_turn(&answer.read("begin a session")?);
        Ok(Answered::Done)
    }

    async fn verify_next(&mut self) -> Done<Answered> {
        let session = &self.sessions[self.turn];
        let body = format!(r#"{{"token":"{}"}}"#, session.auth_token);
        let answer = self.connection.exchange(&self.calls.verify, body).await?;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(Answered::Unavailable);
        }
        let verified: Verified<'_> = answer.read("verify a token")?;
        if !verified.verified || verified.session_id != Some(&session.id) {
            return Err(Failure::of(
                "the server did not verify an auth token of its own",
            ));
        }
        Ok(Answered::Done)
    }

    async fn forge_next(&mut self) -> Done<Answered> {
        let turn = &self.sessions[self.turn];
        let forged = forge(&turn.auth_token, &turn.refresh_token, &self.calls.app_id)
            .ok_or_else(|| Failure::of("the server issued a token that is none"))?;
        let body = renewal(&forged);
        let answer = self.connection.exchange(&self.calls.renew, body).await?;
        match answer.status {
            StatusCode::SERVICE_UNAVAILABLE => Ok(Answered::Unavailable),
            StatusCode::BAD_REQUEST
                if answer.code().as_deref() == Some("refresh_token_invalid") =>
            {
                Ok(Answered::Done)
            }
            _ => Err(answer.refusal("refuse a forged refresh token")),
        }
    }

    async fn sign(&mut self, sub: &str) -> Done<Answer> {
        let body = format!(r#"{{"sub":"{sub}",{}"#, self.calls.claims);
        self.connection.exchange(&self.calls.sign, body).await
    }

    /// Keeps some of the pairs.
    fn sample_turn(&mut self, grant: &Grant<'_>) {
        let sub = mem::take(&mut self.sessions[self.turn].sub);
        self.sample(grant, &sub);
        self.sessions[self.turn].sub = sub;
    }

    fn sample(&mut self, grant: &Grant<'_>, sub: &str) {
        if self.granted.is_multiple_of(SAMPLE_EVERY) || self.granted < self.calls.first_samples {
            self.measured.samples.push(Sample::new(grant, sub));
        }
        self.granted += 1;
    }

    /// An auth and a refresh token.
    pub fn some_tokens(&self) -> Option<(&str, &str)> {
        let session = self.sessions.first()?;
        Some((&session.auth_token, &session.refresh_token))
    }

    /// Gives up one of its sessions that were renewed, and presents the refresh token of that which was used before. `None`
    /// when there is none (any more).
    pub async fn present_used(&mut self) -> Option<Done<Answer>> {
        let used = self
            .sessions
            .iter_mut()
            .find_map(|session| session.used.take())?;
        let body = renewal(&used);
        Some(self.connection.exchange(&self.calls.renew, body).await)
    }
}

fn renewal(refresh_token: &str) -> String {
    format!(r#"{{"refresh_token":"{refresh_token}","ip":"{IP}","useragent":"{USER_AGENT}"}}"#)
}

/// Two hundred bytes or so, as a user's claims are.
fn claims() -> String {
    let claims = json!({
        "aud": "web-app", "ip": IP, "useragent": USER_AGENT,
        "personal": {"name": "Ada Lovelace", "email": "ada@example.com", "locale": "en-GB"},
        "role": "admin", "tenant": "analytical-engines", "scope": "read write",
    });
    // Without its first brace: the subject comes before.
    claims.to_string()[1..].to_owned()
}
