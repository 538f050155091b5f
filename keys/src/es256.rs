//! An ES256 key pair: made and encoded with `p256`, used with `aws-lc-rs`.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{
    DecodingKey,
    crypto::JwtSigner,
    signature::{Error as SignatureError, Signer},
};
use p256::{
    SecretKey,
    elliptic_curve::{Generate, sec1::ToSec1Point},
    pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding},
};
use rand::CryptoRng;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{Algorithm, UnsupportedAlgorithm};

/// A private key as PKCS#8 DER (RFC 5958), wiped from memory when dropped.
pub type PrivateKey = Zeroizing<Vec<u8>>;

/// The bytes are not a private key of the algorithm that its row names.
#[derive(Debug, thiserror::Error)]
#[error("not a valid {0} private key")]
pub struct KeyError(pub Algorithm);

/// A public signing key as JSON Web Key (RFC 7517), public members only.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Jwk {
    pub kid: String,
    pub alg: &'static str,
    #[serde(rename = "use")]
    pub usage: &'static str,
    pub kty: &'static str,
    pub crv: &'static str,
    pub x: String,
    pub y: String,
}

/// The public half of a signing key, in every form in which it is handed out or used.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// `kid` of the tokens that it verifies.
    pub id: String,
    /// The only algorithm that it verifies.
    pub algorithm: Algorithm,
    /// Base64 (RFC 4648 section 4) of the whole PEM text of the SPKI public key.
    pub pem_base64: String,
    /// The key as JWK.
    pub jwk: Jwk,
    pub(crate) decoding: DecodingKey,
}

/// A parsed signing key: parsing costs more than half a signature, so this is kept.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    rng: SystemRandom,
    public: PublicKey,
}

/// Makes a private key for `algorithm`.
///
/// # Errors
/// When no key can be made for that algorithm.
pub fn generate(
    algorithm: Algorithm,
    rng: &mut impl CryptoRng,
) -> Result<PrivateKey, UnsupportedAlgorithm> {
    if !algorithm.is_supported() {
        return Err(UnsupportedAlgorithm(algorithm.to_string()));
    }
    let document = SecretKey::generate_from_rng(rng)
        .to_pkcs8_der()
        .map_err(|_| UnsupportedAlgorithm(algorithm.to_string()))?;
    Ok(Zeroizing::new(document.as_bytes().to_vec()))
}

impl SigningKey {
    /// Parses a private key, and derives its public half.
    ///
    /// # Errors
    /// When the bytes are not a PKCS#8 key of `algorithm`.
    pub fn parse(id: &str, algorithm: Algorithm, private: &PrivateKey) -> Result<Self, KeyError> {
        let error = || KeyError(algorithm);
        if !algorithm.is_supported() {
            return Err(error());
        }
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private)
            .map_err(|_| error())?;
        let public = SecretKey::from_pkcs8_der(private)
            .map_err(|_| error())?
            .public_key();
        let pem = public
            .to_public_key_pem(LineEnding::LF)
            .map_err(|_| error())?;
        let point = public.to_sec1_point(false);
        let (Some(x), Some(y)) = (point.x(), point.y()) else {
            return Err(error());
        };
        let jwk = Jwk {
            kid: id.to_owned(),
            alg: algorithm.as_str(),
            usage: "sig",
            kty: "EC",
            crv: "P-256",
            x: BASE64_URL_SAFE_NO_PAD.encode(x),
            y: BASE64_URL_SAFE_NO_PAD.encode(y),
        };
        let public = PublicKey {
            id: id.to_owned(),
            algorithm,
            pem_base64: BASE64_STANDARD.encode(pem),
            jwk,
            decoding: DecodingKey::from_ec_der(pair.public_key().as_ref()),
        };
        Ok(Self {
            pair,
            rng: SystemRandom::new(),
            public,
        })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl Signer<Vec<u8>> for SigningKey {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let signature = self
            .pair
            .sign(&self.rng, message)
            .map_err(SignatureError::from_source)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl JwtSigner for SigningKey {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        jsonwebtoken::Algorithm::ES256
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.public.id)
            .finish_non_exhaustive()
    }
}
