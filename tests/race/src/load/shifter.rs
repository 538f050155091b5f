//! Changes the policy of an app while its sessions are renewed: now and then, and fifty times a second when all else is calm.

use std::{sync::Arc, time::Duration};

use rand::RngExt;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{GRACES, Hand, Held, Load};

/// Between two changes when all is calm.
const FAST: Duration = Duration::from_millis(20);
/// Changes that may be under way at once then.
const AT_ONCE: usize = 8;

pub async fn run(load: Arc<Load>, mut hand: Hand) -> Vec<Held> {
    let app = &load.apps.shifting;
    while !load.is_stopping() && !load.is_calm() {
        change(&load, hand.next(), &mut hand).await;
        if hand.rng.random_bool(0.05) {
            load.client.rotate_signing_key(hand.next(), app).await;
        }
        let until = Instant::now() + Duration::from_millis(hand.rng.random_range(100..1_500));
        while Instant::now() < until && !load.is_calm() {
            sleep(FAST).await;
        }
    }
    let mut changing = JoinSet::new();
    let mut next = Instant::now();
    while !load.is_stopping() {
        next += FAST;
        sleep_until(next).await;
        if changing.len() >= AT_ONCE {
            changing.join_next().await;
        }
        let (load, mut hand, node) = (load.clone(), hand.fork(), hand.next());
        changing.spawn(async move { change(&load, node, &mut hand).await });
    }
    changing.join_all().await;
    Vec::new()
}

async fn change(load: &Load, node: usize, hand: &mut Hand) {
    let life = hand.rng.random_range(600..3_600);
    let grace = GRACES[hand.rng.random_range(0..GRACES.len())];
    load.client
        .change(node, &load.apps.shifting, life, grace)
        .await;
}
