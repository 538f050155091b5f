//! Logs out while a renewal is under way, and then tries every token that there was.

use std::sync::Arc;

use rand::RngExt;
use tokio::{task::JoinHandle, time::Instant};

use super::{Hand, Held, Load, Settled, Tries, WITHIN_GRACE};
use crate::{
    client::{App, LogoutBy, Token},
    history::Role,
};

/// The tokens that are tried afterwards: the last ones.
const TRIED: usize = 4;

pub async fn run(load: Arc<Load>, app: App, mut hand: Hand) -> Vec<Held> {
    while !load.is_stopping() {
        let sub = format!("leaver-{:016x}", hand.rng.random::<u64>());
        let node = hand.next();
        let signed = load.client.sign(node, &app, Role::Leaver, &sub, None).await;
        let Some(mut token) = signed else {
            hand.pause(20..200).await;
            continue;
        };
        let mut alive = true;
        for _ in 0..hand.rng.random_range(0..5) {
            match load.settle(&app, &token, &mut hand).await {
                Settled::Renewed(next) => token = next,
                Settled::Refused | Settled::Abandoned => {
                    alive = false;
                    break;
                }
            }
        }
        if alive {
            leave(&load, &app, token, &mut hand).await;
        }
        hand.pause(20..200).await;
    }
    Vec::new()
}

async fn leave(load: &Arc<Load>, app: &App, token: Token, hand: &mut Hand) {
    let by = match hand.rng.random_range(0..4) {
        0 => LogoutBy::RefreshToken,
        1 => LogoutBy::AuthToken,
        2 => LogoutBy::Session,
        _ => LogoutBy::Subject,
    };
    let renewing = renew_on(load, app, token.clone(), hand);
    hand.pause(0..20).await;

    let mut tries = Tries::new();
    while let Some(node) = tries.next(hand).await {
        if load.client.logout(node, app, &token, by).await {
            break;
        }
    }
    let Ok(tokens) = renewing.await else {
        return load.client.history.complain("a leaver's renewals panicked");
    };
    for token in tokens.iter().rev().take(TRIED) {
        for node in 0..hand.nodes {
            load.client.renew(node, app, token).await;
        }
    }
}

/// Renews until it is refused, and gives every token that there was.
fn renew_on(load: &Arc<Load>, app: &App, token: Token, hand: &mut Hand) -> JoinHandle<Vec<Token>> {
    let (load, app) = (load.clone(), app.clone());
    let mut hand = hand.fork();
    tokio::spawn(async move {
        let begun = Instant::now();
        let mut tokens = vec![token];
        while begun.elapsed() < WITHIN_GRACE
            && let Some(token) = tokens.last()
        {
            match load.settle(&app, token, &mut hand).await {
                Settled::Renewed(next) => tokens.push(next),
                Settled::Refused | Settled::Abandoned => break,
            }
        }
        tokens
    })
}
