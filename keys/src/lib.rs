//! What a signing key is: how it is made, how it signs and verifies, how it is published, and how it
//! is sealed at rest. No database and no HTTP.

mod algorithm;
mod jws;
mod pair;
mod seal;
mod signing_key;

pub use algorithm::{Algorithm, KeyType, UnsupportedAlgorithm};
pub use jws::{InvalidToken, TokenType, claims_unverified, key_id, sign, verify};
pub use pair::generate;
pub use seal::{MasterKey, MasterKeyError, SealError};
pub use signing_key::{Jwk, KeyError, PrivateKey, PublicKey, SigningKey};
