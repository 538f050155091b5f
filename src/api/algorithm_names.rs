//! The names of algorithms and key families in the contract.

use keys::{Algorithm, KeyType};
use poem_openapi::Enum;

/// The family of a signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum KeyTypeName {
    #[oai(rename = "ECDSA")]
    Ecdsa,
    #[oai(rename = "RSA")]
    Rsa,
    #[oai(rename = "EdDSA")]
    EdDsa,
}

/// A signature algorithm (RFC 7518).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "UPPERCASE")]
pub enum AlgorithmName {
    Es256,
    Es384,
    Es512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    #[oai(rename = "EdDSA")]
    EdDsa,
}

impl From<KeyTypeName> for KeyType {
    fn from(name: KeyTypeName) -> Self {
        match name {
            KeyTypeName::Ecdsa => Self::Ecdsa,
            KeyTypeName::Rsa => Self::Rsa,
            KeyTypeName::EdDsa => Self::EdDsa,
        }
    }
}

impl From<AlgorithmName> for Algorithm {
    fn from(name: AlgorithmName) -> Self {
        match name {
            AlgorithmName::Es256 => Self::Es256,
            AlgorithmName::Es384 => Self::Es384,
            AlgorithmName::Es512 => Self::Es512,
            AlgorithmName::Rs256 => Self::Rs256,
            AlgorithmName::Rs384 => Self::Rs384,
            AlgorithmName::Rs512 => Self::Rs512,
            AlgorithmName::Ps256 => Self::Ps256,
            AlgorithmName::Ps384 => Self::Ps384,
            AlgorithmName::Ps512 => Self::Ps512,
            AlgorithmName::EdDsa => Self::EdDsa,
        }
    }
}
