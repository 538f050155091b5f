//! Revokes signing keys while their sessions are renewed, and then tries every token that there was.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use rand::RngExt;
use tokio::task::JoinSet;

use super::{Hand, Held, Load};
use crate::{
    client::Token,
    history::{Id, Role},
};

/// Sessions whose keys are revoked together.
const SESSIONS: usize = 4;

/// Every token that there was.
#[derive(Debug, Default)]
struct Tokens(Mutex<Vec<Token>>);

pub async fn run(load: Arc<Load>, mut hand: Hand) -> Vec<Held> {
    while !load.is_stopping() {
        let mut signed = Vec::new();
        for _ in 0..SESSIONS {
            signed.extend(load.sign(&load.keyed, Role::Keyed, &mut hand).await);
        }
        revoke(&load, signed, &mut hand).await;
        hand.pause(1_000..4_000).await;
    }
    Vec::new()
}

async fn revoke(load: &Arc<Load>, signed: Vec<Token>, hand: &mut Hand) {
    let tokens = Arc::new(Tokens::default());
    let enough = Arc::new(AtomicBool::new(false));
    let mut renewing = JoinSet::new();
    for (index, token) in signed.into_iter().enumerate() {
        tokens.push(token.clone());
        let (load, tokens, enough) = (load.clone(), tokens.clone(), enough.clone());
        let mut node = index;
        renewing.spawn(async move {
            let mut token = token;
            while !enough.load(Relaxed) {
                node = (node + 1) % load.client.nodes();
                let (_, Some(next)) = load.client.renew(node, &load.keyed, &token).await else {
                    break;
                };
                tokens.push(next.clone());
                token = next;
            }
        });
    }
    hand.pause(20..300).await;

    // What was signed until now; a token that is on its way may have a new key.
    let known: BTreeSet<Id> = tokens.list().iter().map(|token| token.issued.key).collect();
    let last = tokens.list().last().map(|token| token.issued.key);
    let one = last.filter(|_| hand.rng.random_bool(0.7));
    let keys = match one {
        Some(key) => vec![key],
        None => known.into_iter().collect(),
    };
    let acknowledged = load
        .client
        .revoke(hand.next(), &load.keyed, one, keys)
        .await;
    if acknowledged {
        try_all(load, &tokens).await;
    }
    enough.store(true, Relaxed);
    renewing.join_all().await;
    if acknowledged {
        try_all(load, &tokens).await;
    }
}

/// Presents the last one of each session at every node, at once. Not those before it: a reuse would end the session,
/// and what is looked for would not be seen.
async fn try_all(load: &Arc<Load>, tokens: &Tokens) {
    let mut trying = JoinSet::new();
    let tokens = tokens.list();
    let last: BTreeMap<_, _> = tokens.iter().map(|token| (token.session, token)).collect();
    for token in last.into_values() {
        for node in 0..load.client.nodes() {
            let (load, token) = (load.clone(), token.clone());
            trying.spawn(async move { load.client.renew(node, &load.keyed, &token).await });
        }
    }
    trying.join_all().await;
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
