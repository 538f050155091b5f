// Verifies auth tokens with jose for as long as they come, as a resource server in JavaScript does.
//
// stream.mjs JWKS ISSUER AUDIENCE MAX_AGE: a token a line; answers each with a line of JSON.

import { webcrypto } from 'node:crypto';
import { createInterface } from 'node:readline';

// Node 18 has no global of this name.
globalThis.crypto ??= webcrypto;
const { createRemoteJWKSet, customFetch, errors, jwtVerify } = await import('jose');

const [url, issuer, audience, maxAge] = process.argv.slice(2);
let fetches = 0;

const jwks = createRemoteJWKSet(new URL(url), {
  cacheMaxAge: Number(maxAge) * 1000,
  // An unknown key is no reason to fetch again: it has to have been there at the last regular time.
  cooldownDuration: 3_600_000,
  [customFetch]: (...request) => {
    fetches += 1;
    return fetch(...request);
  },
});

async function verify(token) {
  try {
    await jwtVerify(token, jwks, { algorithms: ['ES256'], audience, issuer, typ: 'JWT' });
    return 'good';
  } catch (error) {
    return error instanceof errors.JWKSNoMatchingKey ? 'unknown key' : `${error}`;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const verdict = await verify(line);
  process.stdout.write(`${JSON.stringify({ verdict, fetches })}\n`);
}
