//! Pairs of tokens that are checked when nothing is measured.

use crate::{
    failure::{Done, Failure},
    token::{Claims, Token, public_key},
    wire::Grant,
};

/// A pair of tokens as the server granted it.
pub struct Sample {
    sub: String,
    session_id: String,
    auth_token: String,
    refresh_token: String,
    public_key: String,
}

impl Sample {
    pub fn new(grant: &Grant<'_>, sub: &str) -> Self {
        Self {
            sub: sub.to_owned(),
            session_id: grant.session_id.to_owned(),
            auth_token: grant.auth_token.to_owned(),
            refresh_token: grant.refresh_token.to_owned(),
            public_key: grant.public_key.to_owned(),
        }
    }

    /// # Errors
    /// When a token is not signed by the key that came with it, or is not of its session.
    pub fn verify(&self) -> Done {
        let key = public_key(&self.public_key)
            .ok_or_else(|| Failure::of("the server answered a public key that is none"))?;
        let claims = |name: &str, token: &str| -> Done<Claims> {
            let text =
                format!("the server issued {name} token that its public key does not verify");
            let claims = Token::parse(token).and_then(|token| token.verify(&key));
            claims.ok_or_else(|| Failure::of(text))
        };
        let auth = claims("an auth", &self.auth_token)?;
        let refresh = claims("a refresh", &self.refresh_token)?;
        let is_of_session = auth.sid == self.session_id && refresh.sid == self.session_id;
        if auth.sub.as_ref() == Some(&self.sub) && auth.jid == refresh.jid && is_of_session {
            return Ok(());
        }
        Err(Failure::of(format!(
            "the server issued tokens with wrong claims: sub {:?}, jid {} and {}, sid {} and {} for the session {} of {}",
            auth.sub, auth.jid, refresh.jid, auth.sid, refresh.sid, self.session_id, self.sub,
        )))
    }
}
