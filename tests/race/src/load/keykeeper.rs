//! Replaces the app-keys of an app and revokes the old ones, while somebody goes on to use those.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use rand::RngExt;
use tokio::task::JoinSet;

use super::{Hand, Held, Load, Tries};
use crate::{
    client::{Key, Kind},
    history::{Answer, Role},
};

pub async fn run(load: Arc<Load>, mut hand: Hand) -> Vec<Held> {
    while !load.is_stopping() {
        let kind = if hand.rng.random() {
            Kind::Secret
        } else {
            Kind::Publishable
        };
        replace(&load, kind, &mut hand).await;
        hand.pause(300..2_000).await;
    }
    Vec::new()
}

async fn replace(load: &Arc<Load>, kind: Kind, hand: &mut Hand) {
    let app = &load.apps.rekeyed;
    let old = app.keys.current(kind);
    let enough = Arc::new(AtomicBool::new(false));
    let mut using = JoinSet::new();
    for _ in 0..hand.nodes {
        using.spawn(go_on(
            load.clone(),
            old.clone(),
            hand.fork(),
            enough.clone(),
        ));
    }
    hand.pause(5..100).await;
    // The app's first keys are not known by an id: they are replaced by what is.
    let is_done = if old.id.is_empty() || (old.is_main && hand.rng.random_bool(0.5)) {
        match load.client.rotate_key(hand.next(), app, &old).await {
            Some(new) => {
                app.keys.replace(new);
                true
            }
            // The old one may be gone, and the new one is not known.
            None => {
                make(load, kind, hand).await;
                false
            }
        }
    } else {
        make(load, kind, hand).await && revoke(load, &old, hand).await
    };
    if is_done {
        for node in 0..hand.nodes {
            let sub = format!("stale-{:016x}", hand.rng.random::<u64>());
            if kind == Kind::Secret {
                load.client
                    .sign_with(node, app, &old, Role::Walker, &sub, None)
                    .await;
            }
        }
    }
    enough.store(true, Relaxed);
    using.join_all().await;
}

async fn revoke(load: &Arc<Load>, key: &Key, hand: &mut Hand) -> bool {
    let mut tries = Tries::new();
    while let Some(node) = tries.next(hand).await {
        let revoked = load.client.revoke_key(node, &load.apps.rekeyed, key);
        if revoked.await {
            return true;
        }
    }
    false
}

/// Another key for all to use.
async fn make(load: &Arc<Load>, kind: Kind, hand: &mut Hand) -> bool {
    let app = &load.apps.rekeyed;
    for _ in 0..20 {
        if let Some(new) = load.client.make_key(hand.next(), app, kind).await {
            app.keys.replace(new);
            return true;
        }
        hand.pause(50..300).await;
    }
    false
}

/// Uses the key on and on, until it is refused and there is enough.
async fn go_on(load: Arc<Load>, key: Key, mut hand: Hand, enough: Arc<AtomicBool>) {
    let app = &load.apps.rekeyed;
    let mut token = None;
    while !enough.load(Relaxed) {
        let node = hand.next();
        match (key.kind, &token) {
            (Kind::Publishable, Some(held)) => {
                match load.client.renew_with(node, app, &key, held).await {
                    (Answer::Refused(_), _) => token = None,
                    (_, next) => token = next.or(token),
                }
            }
            (Kind::Publishable, None) => {
                token = load.sign(app, Role::Walker, &mut hand).await;
            }
            (Kind::Secret, _) => {
                let sub = format!("stale-{:016x}", hand.rng.random::<u64>());
                load.client
                    .sign_with(node, app, &key, Role::Walker, &sub, None)
                    .await;
            }
        }
        hand.pause(2..15).await;
    }
}
