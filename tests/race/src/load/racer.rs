//! Presents a token many times at once, at every node.

use std::{sync::Arc, time::Duration};

use rand::RngExt;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Hand, Held, Load, Settled};
use crate::{
    client::{App, Token},
    history::Role,
    node::SKEW,
};

/// Presentations at each node.
const AT_EACH: usize = 3;
/// Of so many rounds one ends with a token that comes after its grace, by so much more than clocks differ.
const LATE: u32 = 8;
const AFTER: Duration = Duration::from_millis(500);

pub async fn run(load: Arc<Load>, app: App, mut hand: Hand) -> Vec<Held> {
    let mut late = JoinSet::new();
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
        if !app.grace.is_none() && (late.is_empty() || hand.rng.random_ratio(1, LATE)) {
            let (load, app, hand) = (load.clone(), app.clone(), hand.fork());
            late.spawn(come_late(load, app, token, hand));
        }
        hand.pause(50..400).await;
    }
    late.join_all().await;
    Vec::new()
}

/// Presents a token again when its grace is surely over, though nothing has followed its successor.
async fn come_late(load: Arc<Load>, app: App, token: Token, mut hand: Hand) {
    if let Settled::Renewed(_) = load.settle(&app, &token, &mut hand).await {
        let over = Instant::now() + Duration::from_micros(app.grace.most) + SKEW + AFTER;
        while !load.is_stopping() && Instant::now() < over {
            hand.pause(100..200).await;
        }
        load.client.renew(hand.next(), &app, &token).await;
    }
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
