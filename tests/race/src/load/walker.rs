//! Renews on and on, each new token at the next node at once.

use std::sync::Arc;

use rand::RngExt;

use super::{Hand, Held, Load, Settled};
use crate::{client::App, history::Role};

/// Sessions that a walker leaves lying about, to see at the end whether they are still there.
const HELD: usize = 40;
/// Renewals between two changes of a session's claims.
const AMENDED: usize = 61;

pub async fn run(load: Arc<Load>, app: App, mut hand: Hand) -> Vec<Held> {
    let mut held = Vec::new();
    while !load.is_stopping() {
        // Mostly where nothing is done but renewals.
        let app = match hand.rng.random_range(0..16) {
            0..2 => &load.apps.quiet,
            2 => &load.apps.flushed,
            3 => &load.apps.rekeyed,
            4 => &load.apps.shifting,
            _ => &app,
        };
        let Some(mut token) = load.sign(app, Role::Walker, &mut hand).await else {
            continue;
        };
        let mut alive = true;
        for step in 1..hand.rng.random_range(10..300) {
            if load.is_stopping() {
                break;
            }
            if step % AMENDED == 0 {
                let note = format!("note {step}");
                load.client.amend(hand.next(), app, &mut token, &note).await;
            }
            match load.settle(app, &token, &mut hand).await {
                Settled::Renewed(next) => token = next,
                Settled::Refused | Settled::Abandoned => {
                    alive = false;
                    break;
                }
            }
            // Mostly at once; else the machine would do nothing but this.
            if step % 16 == 15 {
                hand.pause(20..120).await;
            }
        }
        let app = app.clone();
        if alive && held.len() < HELD {
            held.push(Held { app, token });
        } else if alive {
            let place = hand.rng.random_range(0..HELD);
            held[place] = Held { app, token };
        }
    }
    held
}
