//! A device without a user: its registration token is refreshed, with answers that are lost, races and sessions between; and
//! sometimes it tries to become somebody else.

use std::sync::Arc;

use rand::RngExt;
use tokio::task::JoinSet;

use super::{Hand, Held, Load, Settled, Tries};
use crate::{
    client::{Lineage, Presenter, Token},
    history::SensorAnswer,
};

/// Of so many steps one is a race.
const RACES: u32 = 4;

pub async fn run(load: Arc<Load>, mut hand: Hand) -> Vec<Held> {
    while !load.is_stopping() {
        let name = format!("sensor-{:016x}", hand.rng.random::<u64>());
        let app = &load.apps.sensed;
        let node = hand.next();
        if let Some(lineage) = load.client.register(node, app, &name, None).await {
            live(&load, lineage, &mut hand).await;
        }
        hand.pause(100..600).await;
    }
    Vec::new()
}

async fn live(load: &Arc<Load>, mut lineage: Lineage, hand: &mut Hand) {
    let mut tokens = 1;
    for _ in 0..hand.rng.random_range(2..8) {
        let next = if hand.rng.random_ratio(1, RACES) {
            race(load, &lineage, &mut tokens, hand).await
        } else {
            follow(load, &lineage, &mut tokens, hand).await
        };
        let Some(next) = next else { return };
        lineage = next;
        let Some(token) = sign_in(load, &lineage, hand).await else {
            return;
        };
        if hand.rng.random_bool(0.3) {
            impersonate(load, &lineage, &token, hand).await;
            // Whoever it says that it is, it says the same.
            if sign_in(load, &lineage, hand).await.is_none() {
                return;
            }
        }
    }
}

/// Refreshes the token until there is an answer: whatever was made of it before is dead then.
async fn follow(
    load: &Load,
    lineage: &Lineage,
    tokens: &mut usize,
    hand: &mut Hand,
) -> Option<Lineage> {
    let mut child = None;
    let again = hand.rng.random_bool(0.3);
    for attempt in 0..2 {
        let mut tries = Tries::new();
        loop {
            let node = tries.next(hand).await?;
            *tokens += 1;
            let (answer, next) = load.client.refresh(node, lineage, *tokens).await;
            child = next;
            if !matches!(
                answer,
                SensorAnswer::Unknown | SensorAnswer::Unavailable | SensorAnswer::Unsent
            ) {
                break;
            }
        }
        // Within the grace the parent may come again.
        if attempt == 0 && !again {
            break;
        }
    }
    child
}

/// Refreshes the token at every node at once; the child that lives.
async fn race(
    load: &Arc<Load>,
    lineage: &Lineage,
    tokens: &mut usize,
    hand: &mut Hand,
) -> Option<Lineage> {
    let mut refreshing = JoinSet::new();
    for node in 0..hand.nodes {
        *tokens += 1;
        let (load, lineage, number) = (load.clone(), lineage.clone(), *tokens);
        refreshing.spawn(async move { load.client.refresh(node, &lineage, number).await });
    }
    let answers = refreshing.join_all().await;
    let mut lives = None;
    for (_, child) in answers {
        let Some(child) = child else { continue };
        let node = hand.next();
        if load
            .client
            .exchange(node, &load.apps.sensed, &child)
            .await
            .is_ok()
        {
            lives = lives.or(Some(child));
        }
    }
    lives
}

/// A session of the device, renewed once.
async fn sign_in(load: &Load, lineage: &Lineage, hand: &mut Hand) -> Option<Token> {
    let app = &load.apps.sensed;
    let mut tries = Tries::new();
    let token = loop {
        let node = tries.next(hand).await?;
        match load.client.exchange(node, app, lineage).await {
            Ok(token) => break token,
            Err(SensorAnswer::Gone(_) | SensorAnswer::Refused) => return None,
            Err(_) => {}
        }
    };
    match load.settle(app, &token, hand).await {
        Settled::Renewed(next) => Some(next),
        Settled::Refused | Settled::Abandoned => None,
    }
}

/// The device claims a name that is not its own, and lets the records of both become one.
async fn impersonate(load: &Load, lineage: &Lineage, token: &Token, hand: &mut Hand) {
    let (client, app) = (&load.client, &load.apps.sensed);
    let number: u64 = hand.rng.random();
    let (own, other) = (format!("own-{number:016x}"), format!("other-{number:016x}"));
    let admin = format!("admin-{number:016x}");
    client.report(hand.next(), token, &lineage.name, &own).await;
    client.report(hand.next(), token, &admin, &other).await;
    let who = Presenter {
        sub: &token.claims.sub,
        push_token: &own,
    };
    client.swap(hand.next(), app, who, &other).await;
}
