//! Begins more sessions of a user than the app allows, several at once.

use std::sync::Arc;

use rand::RngExt;
use tokio::{
    task::JoinSet,
    time::{Duration, sleep},
};

use super::{Hand, Held, LIMIT, Load};
use crate::{
    client::SURELY_OVER,
    history::{Cause, Crowd, Ended, Ending, Outcome, Role},
};

pub async fn run(load: Arc<Load>, mut hand: Hand) -> Vec<Held> {
    while !load.is_stopping() {
        gather(&load, &mut hand).await;
        hand.pause(300..1_500).await;
    }
    Vec::new()
}

async fn gather(load: &Arc<Load>, hand: &mut Hand) {
    let app = &load.apps.limited;
    let sub = format!("crowd-{:016x}", hand.rng.random::<u64>());
    let (client, begin) = (&load.client, load.client.history.now());
    let mut signing = JoinSet::new();
    let asked = hand.rng.random_range(LIMIT..3 * LIMIT);
    for index in 0..asked {
        let (load, sub, node) = (load.clone(), sub.clone(), hand.next());
        let delay = hand.rng.random_range(0..10) * (index % 2);
        signing.spawn(async move {
            sleep(Duration::from_millis(delay)).await;
            let app = &load.apps.limited;
            load.client.sign(node, app, Role::Crowd, &sub, None).await
        });
    }
    let signed = signing.join_all().await;
    let tokens: Vec<_> = signed.into_iter().flatten().collect();
    // Which ones end depends on the order of their ids.
    let span = client.history.since(begin);
    client.history.write(|history| {
        let ending = |session| Ending {
            of: Ended::Session(session),
            cause: Cause::Limit,
            is_sure: false,
            node: 0,
            span,
            outcome: Outcome::Done,
        };
        let sessions = tokens.iter().map(|token| token.session);
        history.endings.extend(sessions.map(ending));
    });
    let begun = tokens.len() as u64;
    let perhaps = asked - begun;
    if perhaps > 0 {
        // What had no answer may begin, and end others, until then.
        sleep(Duration::from_micros(SURELY_OVER)).await;
    }
    if let Some(live) = client.count(hand.next(), app, &sub).await {
        let crowd = Crowd {
            span: client.history.since(begin),
            live,
            // One that began without an answer may have ended another.
            least: LIMIT.min(begun),
            most: LIMIT + perhaps,
        };
        client.history.write(|history| history.crowds.push(crowd));
    }
    for token in &tokens {
        client.renew(hand.next(), app, token).await;
    }
}
