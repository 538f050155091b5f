//! Presents a token many times at once, at every node.

use std::{sync::Arc, time::Duration};

use rand::RngExt;
use tokio::{task::JoinSet, time::sleep};

use super::{Hand, Held, Load, Settled};
use crate::{
    client::{App, Token},
    history::Role,
};

/// Presentations at each node.
const AT_EACH: usize = 3;

pub async fn run(load: Arc<Load>, app: App, mut hand: Hand) -> Vec<Held> {
    while !load.is_stopping() {
        let Some(mut token) = load.sign(&app, Role::Racer, &mut hand).await else {
            continue;
        };
        for _ in 0..hand.rng.random_range(1..4) {
            // The successor of the race before it, if there is to be one.
            let Some(won) = race(&load, &app, &token, &mut hand).await else {
                break;
            };
            match load.settle(&app, &won, &mut hand).await {
                Settled::Renewed(next) => token = next,
                Settled::Refused | Settled::Abandoned => break,
            }
        }
        hand.pause(50..400).await;
    }
    Vec::new()
}

/// One of the winners.
async fn race(load: &Arc<Load>, app: &App, token: &Token, hand: &mut Hand) -> Option<Token> {
    let mut tasks = JoinSet::new();
    // At the very same time, or one while another is under way.
    let spread = if hand.rng.random() { 0 } else { 15 };
    for presentation in 0..AT_EACH * hand.nodes {
        let (load, app, token) = (load.clone(), app.clone(), token.clone());
        let node = presentation % hand.nodes;
        let delay = Duration::from_millis(hand.rng.random_range(0..=spread));
        tasks.spawn(async move {
            if !delay.is_zero() {
                sleep(delay).await;
            }
            load.client.renew(node, &app, &token).await
        });
    }
    let answers = tasks.join_all().await;
    answers.into_iter().find_map(|(_, next)| next)
}
