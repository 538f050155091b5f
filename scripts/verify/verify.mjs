// Verifies a grant with jose, as a resource server in JavaScript does.
//
// verify.mjs LABEL URL APP_ID ISSUER CLAIMS GRANT: CLAIMS is a file with the claims that the auth token must
// have, GRANT one with the answer of sign or renew.

import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';

// Node 18 has no global of this name.
globalThis.crypto ??= webcrypto;
const { createRemoteJWKSet, decodeProtectedHeader, errors, importSPKI, jwtVerify } = await import('jose');

const [label, url, appId, issuer, claimsFile, grantFile] = process.argv.slice(2);
const expected = JSON.parse(readFileSync(claimsFile, 'utf8'));
const grant = JSON.parse(readFileSync(grantFile, 'utf8'));

const { auth_token: auth, refresh_token: refresh } = grant;
const pem = Buffer.from(grant.public_key, 'base64').toString('ascii');
const jwks = createRemoteJWKSet(new URL(`${url}/app/${appId}/.well-known/jwks.json`));
const strict = { algorithms: ['ES256'], audience: expected.aud[0], issuer, typ: 'JWT' };
const { audience: _, typ: __, ...lax } = strict;

async function check(what, body) {
  try {
    await body();
    console.log(`ok    ${label}, jose: ${what}`);
  } catch (error) {
    console.log(`FAIL  ${label}, jose: ${what}: ${error}`);
    process.exitCode = 1;
  }
}

function tampered(token) {
  const [header, payload, signature] = token.split('.');
  const claims = JSON.parse(Buffer.from(payload, 'base64url'));
  const changed = Buffer.from(JSON.stringify({ ...claims, sub: 'eve' })).toString('base64url');
  return [header, changed, signature].join('.');
}

await check('both tokens are good under public_key', async () => {
  const key = await importSPKI(pem, 'ES256');
  await jwtVerify(auth, key, strict);
  await jwtVerify(refresh, key, lax);
});

await check('both tokens are good under the key of the JWKS', async () => {
  await jwtVerify(auth, jwks, strict);
  await jwtVerify(refresh, jwks, lax);
});

await check("the auth token's claims", async () => {
  const { payload } = await jwtVerify(auth, jwks, strict);
  const found = Object.fromEntries(Object.keys(expected).map((name) => [name, payload[name]]));
  assert.deepEqual(found, expected);
  assert.equal(payload.jti, payload.jid);
  assert.equal(payload.sid, grant.session_id);
  assert.equal(payload.exp - payload.iat, grant.expires_in);
});

await check('the headers', () => {
  const shared = { alg: 'ES256', kid: grant.key_id };
  assert.deepEqual({ ...decodeProtectedHeader(auth) }, { ...shared, typ: 'JWT' });
  assert.deepEqual({ ...decodeProtectedHeader(refresh) }, { ...shared, typ: 'rt+jwt' });
});

await check('another audience refuses the auth token', () =>
  assert.rejects(jwtVerify(auth, jwks, { ...strict, audience: 'elsewhere' }), { claim: 'aud' }));

await check("another issuer's verifier refuses the auth token", () =>
  assert.rejects(jwtVerify(auth, jwks, { ...strict, issuer: 'elsewhere' }), { claim: 'iss' }));

await check('an auth token with another subject is refused', () =>
  assert.rejects(jwtVerify(tampered(auth), jwks, strict), errors.JWSSignatureVerificationFailed));

await check('a verifier of audiences refuses the refresh token', async () => {
  for (const audience of expected.aud) {
    await assert.rejects(jwtVerify(refresh, jwks, { ...lax, audience }), { claim: 'aud' });
  }
});

await check('a verifier of types refuses the refresh token', () =>
  assert.rejects(jwtVerify(refresh, jwks, { ...lax, typ: 'JWT' }), { claim: 'typ' }));
