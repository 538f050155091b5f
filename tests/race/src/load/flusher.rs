//! Ends every session of an app while they are renewed, and then tries some of them.

use std::sync::Arc;

use super::{Hand, Held, Load, Tries, runners::Runners};
use crate::history::Role;

/// Sessions that are tried; others of the app are the walkers'.
const SESSIONS: usize = 3;

pub async fn run(load: Arc<Load>, mut hand: Hand) -> Vec<Held> {
    let app = &load.apps.flushed;
    while !load.is_stopping() {
        let mut signed = Vec::new();
        for _ in 0..SESSIONS {
            signed.extend(load.sign(app, Role::Walker, &mut hand).await);
        }
        let mut runners = Runners::start(&load, app, signed);
        hand.pause(20..300).await;
        let mut tries = Tries::new();
        while let Some(node) = tries.next(&mut hand).await {
            if load.client.flush(node, app).await {
                runners.try_all().await;
                break;
            }
        }
        runners.finish().await;
        hand.pause(1_000..4_000).await;
    }
    Vec::new()
}
