//! A signing key and its public half.

use aws_lc_rs::rand::SystemRandom;
use base64::{Engine, prelude::BASE64_STANDARD};
use jsonwebtoken::{
    DecodingKey,
    crypto::JwtSigner,
    signature::{Error as SignatureError, Signer},
};
use p256::pkcs8::{Document, LineEnding};

use crate::{
    algorithm::Algorithm,
    jwk::Jwk,
    jws::{TokenType, encode_header},
    pair::Pair,
    private_key::{KeyError, PrivateKey},
};

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
    pub(crate) jws_algorithm: jsonwebtoken::Algorithm,
    pub(crate) decoding: DecodingKey,
    auth_header: String,
    refresh_header: String,
}

impl PublicKey {
    pub(crate) fn header(&self, token_type: TokenType) -> &str {
        match token_type {
            TokenType::Auth => &self.auth_header,
            TokenType::Refresh => &self.refresh_header,
        }
    }
}

/// A parsed signing key: parsing costs more than half a signature, so this is kept.
pub struct SigningKey {
    pair: Pair,
    rng: SystemRandom,
    public: PublicKey,
}

impl SigningKey {
    /// Parses a private key, and derives its public half.
    ///
    /// # Errors
    /// When the bytes are not a PKCS#8 key of `algorithm`.
    pub fn parse(id: &str, algorithm: Algorithm, private: &PrivateKey) -> Result<Self, KeyError> {
        let error = || KeyError(algorithm);
        let pair = Pair::parse(algorithm, private)?;
        let spki = pair.spki().map_err(|_| error())?;
        let pem = Document::try_from(spki.as_ref())
            .and_then(|document| document.to_pem("PUBLIC KEY", LineEnding::LF))
            .map_err(|_| error())?;
        let public = PublicKey {
            id: id.to_owned(),
            algorithm,
            pem_base64: BASE64_STANDARD.encode(pem),
            jwk: pair.jwk(id, algorithm),
            jws_algorithm: jws_algorithm(algorithm).ok_or_else(error)?,
            decoding: pair.decoding(),
            auth_header: encode_header(algorithm, id, TokenType::Auth),
            refresh_header: encode_header(algorithm, id, TokenType::Refresh),
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
        self.pair
            .sign(&self.rng, message)
            .map_err(SignatureError::from_source)
    }
}

impl JwtSigner for SigningKey {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.public.jws_algorithm
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.public.id)
            .finish_non_exhaustive()
    }
}

/// jsonwebtoken's name for the algorithm; it has none for ES512.
const fn jws_algorithm(algorithm: Algorithm) -> Option<jsonwebtoken::Algorithm> {
    use jsonwebtoken::Algorithm as Jws;
    match algorithm {
        Algorithm::Es256 => Some(Jws::ES256),
        Algorithm::Es384 => Some(Jws::ES384),
        Algorithm::Rs256 => Some(Jws::RS256),
        Algorithm::Rs384 => Some(Jws::RS384),
        Algorithm::Rs512 => Some(Jws::RS512),
        Algorithm::Ps256 => Some(Jws::PS256),
        Algorithm::Ps384 => Some(Jws::PS384),
        Algorithm::Ps512 => Some(Jws::PS512),
        Algorithm::EdDsa => Some(Jws::EdDSA),
        Algorithm::Es512 => None,
    }
}
