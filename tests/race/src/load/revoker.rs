//! Revokes signing keys while their sessions are renewed, and then tries every session that there was.

use std::{collections::BTreeSet, sync::Arc};

use rand::RngExt;

use super::{Hand, Held, Load, runners::Runners};
use crate::{
    client::{Token, Verb},
    history::{Id, Role},
};

/// Sessions whose keys are revoked together.
const SESSIONS: usize = 4;

pub async fn run(load: Arc<Load>, mut hand: Hand) -> Vec<Held> {
    let app = &load.apps.keyed;
    while !load.is_stopping() {
        let mut signed = Vec::new();
        for _ in 0..SESSIONS {
            signed.extend(load.sign(app, Role::Keyed, &mut hand).await);
        }
        // Sometimes the next key is published, and takes over.
        if hand.rng.random_bool(0.3) {
            load.client.rotate_signing_key(hand.next(), app).await;
        }
        load.client.note_public_keys(hand.next(), app).await;
        revoke(&load, signed, &mut hand).await;
        hand.pause(1_000..4_000).await;
    }
    Vec::new()
}

async fn revoke(load: &Arc<Load>, signed: Vec<Token>, hand: &mut Hand) {
    let app = &load.apps.keyed;
    let mut runners = Runners::start(load, app, signed);
    hand.pause(20..300).await;

    // What was signed until now; a token that is on its way may have a new key.
    let tokens = runners.tokens();
    let known: BTreeSet<Id> = tokens.iter().map(|token| token.issued.key).collect();
    let last = tokens.last().map(|token| token.issued.key);
    let (verb, keys) = match last.filter(|_| hand.rng.random_bool(0.7)) {
        Some(key) => (Verb::Revoke(key), vec![key]),
        None => (Verb::Replace, known.into_iter().collect()),
    };
    let acknowledged = load.client.revoke(hand.next(), app, verb, keys).await;
    if acknowledged {
        runners.try_all().await;
    }
    runners.finish().await;
    if acknowledged {
        runners.try_all().await;
    }
}
