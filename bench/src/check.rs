//! Whether a refresh token works once only.

use hyper::StatusCode;

use crate::{
    client::Client,
    failure::{Done, Failure},
};

/// Used refresh tokens that are presented again.
const USED: usize = 10;

/// Presents refresh tokens that were used, which ends their sessions. Gives how many there were: none when nothing was
/// renewed.
///
/// # Errors
/// When one is not refused as used.
pub async fn used_tokens(clients: &mut [Client]) -> Done<usize> {
    let mut refused = 0;
    // From all connections in turn, until none has any.
    loop {
        let before = refused;
        for client in &mut *clients {
            if refused == USED {
                return Ok(refused);
            }
            let Some(answer) = client.present_used().await else {
                continue;
            };
            let answer = answer?;
            let code = answer.code();
            if answer.status != StatusCode::BAD_REQUEST
                || code.as_deref() != Some("refresh_token_used")
            {
                let status = answer.status.as_u16();
                let code = code.unwrap_or_default();
                return Err(Failure::of(format!(
                    "a used refresh token was answered {status} {code} instead of 400 refresh_token_used"
                )));
            }
            refused += 1;
        }
        if refused == before {
            return Ok(refused);
        }
    }
}
