//! A user with a device and its push token, and a thief who names that device: what the thief does must touch nothing of the
//! user's. At the end of a round, the device is ended with what lives on it.

use std::sync::Arc;

use rand::RngExt;

use super::{Hand, Held, Load, Settled, Tries};
use crate::{
    client::{Ends, Presenter, Token},
    history::{Outcome, Role},
};

/// A round: names that nobody else has.
struct Round {
    user: String,
    thief: String,
    /// What the user's client calls the device.
    name: String,
    first_push: String,
    push: String,
    thief_push: String,
}

pub async fn run(load: Arc<Load>, mut hand: Hand) -> Vec<Held> {
    while !load.is_stopping() {
        let number: u64 = hand.rng.random();
        let round = Round {
            user: format!("owner-{number:016x}"),
            thief: format!("thief-{number:016x}"),
            name: format!("phone-{number:016x}"),
            first_push: format!("push-{number:016x}-1"),
            push: format!("push-{number:016x}-2"),
            thief_push: format!("push-{number:016x}-3"),
        };
        if let Some((device, mut tokens)) = round.begin(&load, &mut hand).await {
            let stolen = round.steal(&load, &mut hand).await;
            if round.go_on(&load, &mut tokens, &mut hand).await {
                let (app, user) = (&load.apps.owned, &round.user);
                let expected = Some(round.push.clone());
                load.client.targets(hand.next(), app, user, expected).await;
                load.client
                    .targets(hand.next(), app, &round.thief, None)
                    .await;
                end(&load, &device, &tokens, stolen, &mut hand).await;
            }
        }
        hand.pause(100..800).await;
    }
    Vec::new()
}

impl Round {
    /// Two sessions of the user on one device, which has the push token.
    async fn begin(&self, load: &Load, hand: &mut Hand) -> Option<(String, [Token; 2])> {
        let (client, app) = (&load.client, &load.apps.owned);
        let user = Presenter {
            sub: &self.user,
            push_token: &self.first_push,
        };
        // Some tell of events before they are signed in.
        if hand.rng.random() {
            client.event(hand.next(), app, user).await?;
        }
        let first = client
            .sign(hand.next(), app, Role::Owner, &self.user, None)
            .await?;
        let mut tries = Tries::new();
        loop {
            let node = tries.next(hand).await?;
            let report = client.report(node, &first, &self.name, &self.first_push);
            if report.await == Outcome::Done {
                break;
            }
        }
        let device = client.device_of(hand.next(), app, &first).await?;
        let second = client
            .sign(
                hand.next(),
                app,
                Role::Owner,
                &self.user,
                Some(device.as_str()),
            )
            .await?;
        // What was done may be asked for again.
        for _ in 0..2 {
            let mut tries = Tries::new();
            loop {
                let node = tries.next(hand).await?;
                if client.swap(node, app, user, &self.push).await == Outcome::Done {
                    break;
                }
            }
        }
        Some((device, [first, second]))
    }

    /// The thief names the user's device, and has it revoked for its own; its session, if there is one.
    async fn steal(&self, load: &Load, hand: &mut Hand) -> Option<usize> {
        let (client, app) = (&load.client, &load.apps.owned);
        let thief = client
            .sign(hand.next(), app, Role::Owner, &self.thief, None)
            .await?;
        client
            .report(hand.next(), &thief, &self.name, &self.thief_push)
            .await;
        let who = Presenter {
            sub: &self.thief,
            push_token: &self.thief_push,
        };
        client.swap(hand.next(), app, who, &self.push).await;
        if let Some(device) = client.device_of(hand.next(), app, &thief).await {
            client
                .end_device(
                    hand.next(),
                    app,
                    &device,
                    Ends::Revoke,
                    &[],
                    &[thief.session],
                )
                .await;
        }
        Some(thief.session)
    }

    /// The user's sessions live on.
    async fn go_on(&self, load: &Load, tokens: &mut [Token; 2], hand: &mut Hand) -> bool {
        for token in tokens {
            match load.settle(&load.apps.owned, token, hand).await {
                Settled::Renewed(next) => *token = next,
                Settled::Refused | Settled::Abandoned => return false,
            }
        }
        true
    }
}

/// Ends the device: nothing of it renews, and while it is disabled, no session begins on it.
async fn end(
    load: &Load,
    device: &str,
    tokens: &[Token; 2],
    stolen: Option<usize>,
    hand: &mut Hand,
) {
    let (client, app) = (&load.client, &load.apps.owned);
    let how = match hand.rng.random_range(0..3) {
        0 => Ends::Revoke,
        1 => Ends::Disable,
        _ => Ends::Delete,
    };
    let sessions = tokens.each_ref().map(|token| token.session);
    let mut tries = Tries::new();
    loop {
        let Some(node) = tries.next(hand).await else {
            return;
        };
        let ended = client.end_device(node, app, device, how, &sessions, stolen.as_slice());
        if ended.await {
            break;
        }
    }
    for token in tokens {
        for node in 0..hand.nodes {
            client.renew(node, app, token).await;
        }
    }
    if how == Ends::Disable {
        let user = &tokens[0].claims.sub;
        let begun = client
            .sign(hand.next(), app, Role::Owner, user, Some(device))
            .await;
        if begun.is_some() {
            client
                .history
                .complain("a session began on a device that is disabled");
        }
        client.enable_device(hand.next(), app, device).await;
    }
}
