//! A private key, as it is stored.

use zeroize::Zeroizing;

use crate::algorithm::Algorithm;

/// A private key as PKCS#8 DER (RFC 5958), wiped from memory when dropped.
pub type PrivateKey = Zeroizing<Vec<u8>>;

/// The bytes are not a private key of the algorithm that its row names.
#[derive(Debug, thiserror::Error)]
#[error("not a valid {0} private key")]
pub struct KeyError(pub Algorithm);
