//! Key pairs of every supported family, parsed once. All cryptography is aws-lc's; keys on P-256 are
//! made by `p256`.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
        RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use p256::{SecretKey, elliptic_curve::Generate, pkcs8::EncodePrivateKey};
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::{
    algorithm::{Algorithm, UnsupportedAlgorithm},
    jwk::Jwk,
    private_key::{KeyError, PrivateKey},
};

/// What RSA keys are made with; NIST SP 800-57 asks for as much from 2030 on.
const RSA_SIZE: KeySize = KeySize::Rsa3072;

/// A parsed key pair.
pub enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
}

/// Makes a private key for `algorithm`. An RSA key takes a good part of a second: call it where that
/// blocks nobody.
///
/// # Errors
/// When no key can be made for that algorithm.
pub fn generate(
    algorithm: Algorithm,
    rng: &mut impl CryptoRng,
) -> Result<PrivateKey, UnsupportedAlgorithm> {
    let error = || UnsupportedAlgorithm(algorithm.to_string());
    let keep = |der: &[u8]| Zeroizing::new(der.to_vec());
    match algorithm {
        Algorithm::Es256 => {
            let document = SecretKey::generate_from_rng(rng).to_pkcs8_der();
            Ok(keep(document.map_err(|_| error())?.as_bytes()))
        }
        Algorithm::Es384 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING);
            let document = pair.and_then(|pair| pair.to_pkcs8v1());
            Ok(keep(document.map_err(|_| error())?.as_ref()))
        }
        Algorithm::EdDsa => {
            let document = Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1());
            Ok(keep(document.map_err(|_| error())?.as_ref()))
        }
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => {
            let pair = RsaKeyPair::generate(RSA_SIZE).map_err(|_| error())?;
            let document: Pkcs8V1Der<'static> = pair.as_der().map_err(|_| error())?;
            Ok(keep(document.as_ref()))
        }
        Algorithm::Es512 => Err(error()),
    }
}

impl Pair {
    /// Parses a PKCS#8 private key of `algorithm`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(algorithm: Algorithm, private: &PrivateKey) -> Result<Self, KeyError> {
        let error = || KeyError(algorithm);
        let ec = |with: &'static EcdsaSigningAlgorithm| {
            let pair = EcdsaKeyPair::from_pkcs8(with, private);
            pair.map(Self::Ec).map_err(|_| error())
        };
        let rsa = |with: &'static dyn RsaEncoding| {
            let pair = RsaKeyPair::from_pkcs8(private);
            pair.map(|pair| Self::Rsa(pair, with)).map_err(|_| error())
        };
        match algorithm {
            Algorithm::Es256 => ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(private);
                pair.map(Self::Ed).map_err(|_| error())
            }
            Algorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&RSA_PKCS1_SHA512),
            Algorithm::Ps256 => rsa(&RSA_PSS_SHA256),
            Algorithm::Ps384 => rsa(&RSA_PSS_SHA384),
            Algorithm::Ps512 => rsa(&RSA_PSS_SHA512),
            Algorithm::Es512 => Err(error()),
        }
    }

    /// Signs, in the form that JWS has for the algorithm.
    ///
    /// # Errors
    /// When aws-lc cannot.
    pub fn sign(
        &self,
        rng: &SystemRandom,
        message: &[u8],
    ) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        match self {
            Self::Ec(pair) => Ok(pair.sign(rng, message)?.as_ref().to_vec()),
            Self::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, rng, message, &mut signature)?;
                Ok(signature)
            }
        }
    }

    /// The public key as SPKI in DER.
    ///
    /// # Errors
    /// When aws-lc cannot.
    pub fn spki(&self) -> Result<PublicKeyX509Der<'static>, aws_lc_rs::error::Unspecified> {
        match self {
            Self::Ec(pair) => pair.public_key().as_der(),
            Self::Ed(pair) => pair.public_key().as_der(),
            Self::Rsa(pair, _) => pair.public_key().as_der(),
        }
    }

    /// The public key as jsonwebtoken verifies with it.
    pub fn decoding(&self) -> DecodingKey {
        match self {
            Self::Ec(pair) => DecodingKey::from_ec_der(pair.public_key().as_ref()),
            Self::Ed(pair) => DecodingKey::from_ed_der(pair.public_key().as_ref()),
            Self::Rsa(pair, _) => DecodingKey::from_rsa_der(pair.public_key().as_ref()),
        }
    }

    /// The public key as JWK (RFC 7518 section 6, RFC 8037 section 2).
    pub fn jwk(&self, id: &str, algorithm: Algorithm) -> Jwk {
        let text = |bytes: &[u8]| Some(BASE64_URL_SAFE_NO_PAD.encode(bytes));
        let jwk = Jwk {
            kid: id.to_owned(),
            alg: algorithm.as_str(),
            usage: "sig",
            kty: "",
            crv: None,
            x: None,
            y: None,
            n: None,
            e: None,
        };
        match self {
            Self::Ec(pair) => {
                // 0x04 and both coordinates: an uncompressed point (SEC 1 section 2.3.3).
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                Jwk {
                    kty: "EC",
                    crv: Some(if x.len() == 32 { "P-256" } else { "P-384" }),
                    x: text(x),
                    y: text(y),
                    ..jwk
                }
            }
            Self::Ed(pair) => Jwk {
                kty: "OKP",
                crv: Some("Ed25519"),
                x: text(pair.public_key().as_ref()),
                ..jwk
            },
            Self::Rsa(pair, _) => Jwk {
                kty: "RSA",
                n: text(
                    pair.public_key()
                        .modulus()
                        .big_endian_without_leading_zero(),
                ),
                e: text(
                    pair.public_key()
                        .exponent()
                        .big_endian_without_leading_zero(),
                ),
                ..jwk
            },
        }
    }
}
