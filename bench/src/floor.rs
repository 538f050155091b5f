//! The signatures that an operation cannot do without, and nothing else: no JSON, no base64, keys that are parsed once.

use std::sync::Arc;

use aws_lc_rs::{
    error::Unspecified,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
        ParsedPublicKey, Signature,
    },
};

use crate::{
    client::Client,
    cpu,
    failure::{Done, During, Failure},
    options::Operation,
    token::Token,
};

const ROUNDS: u32 = 5000;

/// What is verified and what is signed; as long as what the server verifies and signs.
#[derive(Clone)]
pub struct Floor(Arc<Inputs>);

struct Inputs {
    pair: EcdsaKeyPair,
    public: ParsedPublicKey,
    rng: SystemRandom,
    verified: Option<(Vec<u8>, Signature)>,
    signed: Vec<Vec<u8>>,
}

impl Floor {
    /// Takes its inputs from tokens that the server has issued.
    pub fn new(operation: Operation, clients: &[Client]) -> Done<Self> {
        let what = "measure signatures";
        let tokens = clients.iter().find_map(Client::some_tokens);
        let inputs = tokens.and_then(|(auth, refresh)| {
            let input = |token| Some(Token::parse(token)?.input.as_bytes().to_vec());
            Some((input(auth)?, input(refresh)?))
        });
        let (auth, refresh) = inputs.ok_or_else(|| Failure::of("the server issued no tokens"))?;
        let (verified, signed) = match operation {
            Operation::Renew => (Some(refresh.clone()), vec![auth, refresh]),
            Operation::Sign => (None, vec![auth, refresh]),
            Operation::Verify => (Some(auth), vec![]),
            Operation::Forged => (Some(refresh), vec![]),
        };

        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).during(what)?;
        let public = pair.public_key().as_ref();
        let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public).during(what)?;
        let rng = SystemRandom::new();
        let verified = verified.map(|input| Ok((pair.sign(&rng, &input)?, input)));
        let verified: Option<(Signature, Vec<u8>)> = verified
            .transpose()
            .map_err(|error: Unspecified| error)
            .during(what)?;
        Ok(Self(Arc::new(Inputs {
            pair,
            public,
            rng,
            verified: verified.map(|(signature, input)| (input, signature)),
            signed,
        })))
    }

    /// CPU time for one operation, in µs.
    pub async fn measure(&self) -> Done<f64> {
        let inputs = self.0.clone();
        let measured = tokio::task::spawn_blocking(move || inputs.measure()).await;
        measured
            .during("measure signatures")?
            .during("measure signatures")
    }
}

impl Inputs {
    fn measure(&self) -> Result<f64, Unspecified> {
        // The first ones find nothing in the caches.
        for _ in 0..ROUNDS / 50 {
            self.round()?;
        }
        let before = cpu::of_thread();
        for _ in 0..ROUNDS {
            self.round()?;
        }
        let spent = cpu::of_thread().saturating_sub(before);
        Ok(spent.as_secs_f64() * 1e6 / f64::from(ROUNDS))
    }

    fn round(&self) -> Result<(), Unspecified> {
        if let Some((input, signature)) = &self.verified {
            self.public.verify_sig(input, signature.as_ref())?;
        }
        for input in &self.signed {
            self.pair.sign(&self.rng, input)?;
        }
        Ok(())
    }
}
