//! The backend that sends messages tells which push tokens are dead.

use entity::{
    PlainSecret, Timestamp, app,
    device::{self, Marks},
};
use store::Transaction;

use super::{
    end::end,
    rows::{commit, known},
};
use crate::{
    app::App,
    apps::Caller,
    audit::{Action, Event, record},
    error::Result,
};

/// What became of dead push tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Devices that have none any more.
    pub dropped: u64,
    /// Sessions that ended with them.
    pub revoked: u64,
}

/// Forgets these push tokens, which the service that delivers them calls unregistered: the app was removed from the device,
/// or has another token by now. Where the policy of the app binds sessions to push tokens, those on the device end, too.
pub async fn unregister(app: &App, caller: &Caller, tokens: &[PlainSecret]) -> Result<Feedback> {
    let drop = async |caller: Caller| drop_tokens(app, &caller, tokens).await;
    Box::pin(caller.act(app, drop)).await
}

async fn drop_tokens(app: &App, caller: &Caller, tokens: &[PlainSecret]) -> Result<Feedback> {
    let (now, policy) = (app.clock.now(), &caller.app.app);
    let transaction = caller.actor.begin(app).await?;
    let sealing = app.master.sealing(&transaction).await?;
    let macs: Vec<_> = tokens
        .iter()
        .flat_map(|token| sealing.push_macs(policy.id, token.reveal()))
        .collect();
    let marks = Marks {
        push_tokens: &macs,
        ..Marks::default()
    };
    let devices = known(&transaction, policy.id, marks).await?;
    let mut feedback = Feedback::default();
    let mut events = Vec::new();
    for device in devices {
        events.push(Event::of(Action::DeviceUnregister, policy.id, device.id));
        feedback.dropped += 1;
        feedback.revoked += drop_token(&transaction, device, policy, now).await?;
    }
    record(&transaction, &app.rng, now, &caller.actor, events).await?;
    commit(app, transaction).await?;
    Ok(feedback)
}

async fn drop_token(
    db: &Transaction,
    mut device: device::Model,
    policy: &app::Model,
    now: Timestamp,
) -> Result<u64> {
    let id = device.id;
    device.drop_push_token();
    entity::replace(db, device).await?;
    if policy.push_binding {
        Ok(end(db, policy.id, policy.flush_count, id, now).await?)
    } else {
        Ok(0)
    }
}
