//! The names of algorithms and key families in the contract.

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
