//! Refreshes a registration token.

use entity::{PlainSecret, Timestamp, app as apps, device, registration_token};

use super::{
    family::{self, Next},
    holder::Token,
};
use crate::{
    app::App,
    devices::rows::commit,
    error::{Error, RegistrationRefusal, Result},
};

/// The token that follows. It is shown this once.
#[derive(Debug)]
pub struct Refreshed {
    pub token: PlainSecret,
    pub expires_at: Option<Timestamp>,
    /// Whether the token that was presented had been refreshed before: its successor of then is dead now.
    pub is_repeated: bool,
}

const CHANGED: Error = Error::Contended("the registration is being changed");

/// Lets another token follow `token`. Of all tokens of the device one is live afterwards: this one.
///
/// # Errors
/// When the token is not the current one of a live token family, nor its parent within the grace, or the device has used it too
/// often; when the device is disabled, or the app deleted.
pub async fn refresh(app: &App, token: &str) -> Result<Refreshed> {
    let result = match Token::read(token) {
        Ok(token) => app.retry(|| advance_family(app, &token)).await,
        Err(refusal) => Err(refusal.into()),
    };
    app.metrics.refreshed(label(&result));
    result
}

async fn advance_family(app: &App, token: &Token) -> Result<Refreshed> {
    let now = app.clock.now();
    let next = app
        .rng
        .with(|rng| PlainSecret::generate_registration(token.id, rng));
    let hash = next.hash();
    let holder = token.holder(app, now).await?;
    let presented = token.presentation(app, &holder.policy, now);
    // Before the transaction: a device that is refused takes no place among the writers.
    family::refresh(&holder.row, presented, &hash)?;

    let transaction = app.store.begin().await?;
    // The row of the device is the lock of its token family: nobody disables the one, or writes the other, until the end.
    let (app_id, device_id) = (holder.device.app_id, holder.device.id);
    if !device::hold_live(&transaction, app_id, device_id, now).await? {
        return Err(CHANGED);
    }
    let Some(row) = registration_token::find(&transaction, token.id).await? else {
        return Err(CHANGED);
    };
    let policy = apps::find(&transaction, app_id).await?;
    let decision = policy.ok_or(Error::AppDisabled).and_then(|policy| {
        let presented = token.presentation(app, &policy, now);
        Ok(family::refresh(&row, presented, &hash)?)
    });
    let decision = match decision {
        Ok(decision) => decision,
        Err(refusal) => {
            // What it says was so at the server that commits this.
            commit(app, transaction).await?;
            return Err(refusal);
        }
    };
    let is_repeated = matches!(decision, Next::Replaced(_));
    let (Next::Advanced(after) | Next::Replaced(after)) = decision;
    if !registration_token::advance(&transaction, &row, &after).await? {
        return Err(CHANGED);
    }
    app.store.commit(transaction).await?;
    Ok(Refreshed {
        token: next,
        expires_at: after.expires_at,
        is_repeated,
    })
}

/// What a refresh is counted as.
fn label(result: &Result<Refreshed>) -> &'static str {
    match result {
        Ok(refreshed) if refreshed.is_repeated => "replaced",
        Ok(_) => "refreshed",
        Err(Error::RegistrationToken(refusal)) => match refusal {
            RegistrationRefusal::Invalid => "invalid",
            RegistrationRefusal::Expired => "expired",
            RegistrationRefusal::Revoked => "revoked",
            RegistrationRefusal::TooOften { .. } => "too_often",
        },
        Err(Error::DeviceDisabled | Error::AppDisabled) => "disabled",
        Err(_) => "error",
    }
}
