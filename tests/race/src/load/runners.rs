//! Sessions that are renewed on and on, while something is done to their app; and then every one is tried.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::task::JoinSet;

use super::Load;
use crate::client::{App, Token};

#[derive(Debug)]
pub struct Runners {
    load: Arc<Load>,
    app: App,
    tokens: Arc<Tokens>,
    enough: Arc<AtomicBool>,
    running: JoinSet<()>,
}

/// Every token that there was.
#[derive(Debug, Default)]
struct Tokens(Mutex<Vec<Token>>);

impl Runners {
    /// Each starts at another node, and goes on until it is refused, or there is enough.
    pub fn start(load: &Arc<Load>, app: &App, signed: Vec<Token>) -> Self {
        let mut runners = Self {
            load: load.clone(),
            app: app.clone(),
            tokens: Arc::default(),
            enough: Arc::default(),
            running: JoinSet::new(),
        };
        for (index, token) in signed.into_iter().enumerate() {
            runners.tokens.push(token.clone());
            let (load, app) = (load.clone(), app.clone());
            let (tokens, enough) = (runners.tokens.clone(), runners.enough.clone());
            let mut node = index;
            runners.running.spawn(async move {
                let mut token = token;
                while !enough.load(Relaxed) {
                    node = (node + 1) % load.client.nodes();
                    let (_, Some(next)) = load.client.renew(node, &app, &token).await else {
                        break;
                    };
                    tokens.push(next.clone());
                    token = next;
                }
            });
        }
        runners
    }

    /// Every token that there was until now.
    pub fn tokens(&self) -> Vec<Token> {
        self.tokens.list()
    }

    /// Presents the last one of each session at every node, at once. Not those before it: a reuse would end the session,
    /// and what is looked for would not be seen.
    pub async fn try_all(&self) {
        let mut trying = JoinSet::new();
        let tokens = self.tokens();
        let last: BTreeMap<_, _> = tokens.iter().map(|token| (token.session, token)).collect();
        for token in last.into_values() {
            for node in 0..self.load.client.nodes() {
                let (load, app, token) = (self.load.clone(), self.app.clone(), token.clone());
                trying.spawn(async move { load.client.renew(node, &app, &token).await });
            }
        }
        trying.join_all().await;
    }

    /// Lets each come to its end.
    pub async fn finish(&mut self) {
        self.enough.store(true, Relaxed);
        while self.running.join_next().await.is_some() {}
    }
}

impl Tokens {
    fn push(&self, token: Token) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(token);
    }

    fn list(&self) -> Vec<Token> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
