//! Pairs of tokens that are put aside, whose signatures are verified when there is time: at the end.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::Token;
use crate::history::{Id, Micros, Signature};

/// Of so many pairs one is verified: to verify all would take as long as to renew them.
const ONE_OF: u64 = 48;

#[derive(Debug, Default)]
pub struct Samples {
    seen: AtomicU64,
    taken: Mutex<Vec<Sample>>,
    /// The apps' public keys: uncompressed points of P-256.
    keys: Mutex<BTreeMap<(usize, Id), Vec<u8>>>,
}

#[derive(Debug)]
struct Sample {
    app: usize,
    session: usize,
    key: Id,
    at: Micros,
    tokens: [Arc<str>; 2],
}

impl Samples {
    pub fn take(&self, app: usize, at: Micros, token: &Token) {
        if !self.seen.fetch_add(1, Relaxed).is_multiple_of(ONE_OF) {
            return;
        }
        let sample = Sample {
            app,
            session: token.session,
            key: token.issued.key,
            at,
            tokens: [token.auth.clone(), token.refresh.clone()],
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.push(sample);
    }

    /// Adds public keys of an app.
    pub fn note_keys(&self, app: usize, keys: impl Iterator<Item = (Id, Vec<u8>)>) {
        let mut known = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(keys.map(|(id, point)| ((app, id), point)));
    }

    /// Verifies all that were taken, and tells which app has which keys. A key that its app did not list verifies nothing.
    pub fn verify(&self) -> (Vec<Signature>, BTreeMap<Id, usize>) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let verified = taken.iter().map(|sample| {
            let point = keys.get(&(sample.app, sample.key));
            Signature {
                session: sample.session,
                key: sample.key,
                at: sample.at,
                is_good: point.is_some_and(|point| {
                    let mut tokens = sample.tokens.iter();
                    tokens.all(|token| verify(token, point))
                }),
            }
        });
        let of_apps = keys.keys().map(|(app, id)| (*id, *app));
        (verified.collect(), of_apps.collect())
    }
}

fn verify(token: &str, point: &[u8]) -> bool {
    let Some((signed, signature)) = token.rsplit_once('.') else {
        return false;
    };
    let Ok(signature) = BASE64_URL_SAFE_NO_PAD.decode(signature) else {
        return false;
    };
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(signed.as_bytes(), &signature).is_ok()
}
