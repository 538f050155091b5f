//! The snippet of `docs/verify.md`, letter for letter: `scripts/verify/walkthrough` compares them, and runs this.

#![expect(clippy::print_stdout, reason = "it is what the snippet is for")]

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (app_id, token) = (std::env::var("APP_ID")?, std::env::var("AUTH_TOKEN")?);
    let url = format!("http://127.0.0.1:2025/app/{app_id}/.well-known/jwks.json");
    let keys: JwkSet = ureq::get(&url).call()?.body_mut().read_json()?;
    let header = decode_header(&token)?;
    if header.typ.as_deref() != Some("JWT") {
        return Err("not an auth token".into());
    }
    let key = keys
        .find(&header.kid.ok_or("no kid")?)
        .ok_or("unknown key")?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["web-app"]);
    validation.set_issuer(&["shop"]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    let data = decode::<serde_json::Value>(&token, &DecodingKey::from_jwk(key)?, &validation)?;
    println!("{} {}", data.claims["sub"], data.claims["role"]);
    Ok(())
}
