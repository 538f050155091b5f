//! What a signing key is: how it is made, how it signs and verifies, how it is published, and how it
//! is sealed at rest. No database and no HTTP.

mod algorithm;
mod es256;
mod jws;
mod seal;

pub use algorithm::{Algorithm, KeyType, UnsupportedAlgorithm};
pub use es256::{Jwk, KeyError, PrivateKey, PublicKey, SigningKey, generate};
pub use jws::{InvalidToken, TokenType, key_id, sign, verify};
pub use seal::{MasterKey, MasterKeyError, SealError};
