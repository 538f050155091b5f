//! What a signing key is: how it is made, how it signs and verifies, how it is published, and how it
//! is sealed at rest. No database and no HTTP.

mod algorithm;
mod jwk;
mod jws;
mod pair;
mod private_key;
mod seal;
mod signing_key;

pub use algorithm::{Algorithm, KeyType, UnsupportedAlgorithm};
pub use jwk::Jwk;
pub use jws::{InvalidToken, TokenType, claims_unverified, key_id, sign, verify};
pub use pair::generate;
pub use private_key::{KeyError, PrivateKey};
pub use seal::{MasterKey, MasterKeyError, SealError};
pub use signing_key::{PublicKey, SigningKey};
