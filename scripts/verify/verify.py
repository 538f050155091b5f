"""Verifies a grant with PyJWT, as a resource server in Python does.

verify.py LABEL URL APP_ID ISSUER CLAIMS GRANT: CLAIMS is a file with the claims that the auth token must
have, GRANT one with the answer of sign or renew.
"""

import base64
import json
import sys
from contextlib import contextmanager

import jwt

label, url, app_id, issuer, claims_file, grant_file = sys.argv[1:]
with open(claims_file, encoding="utf-8") as file:
    expected = json.load(file)
with open(grant_file, encoding="utf-8") as file:
    grant = json.load(file)

auth, refresh = grant["auth_token"], grant["refresh_token"]
audience = expected["aud"][0]
public_key = base64.b64decode(grant["public_key"], validate=True)
jwks = jwt.PyJWKClient(f"{url}/app/{app_id}/.well-known/jwks.json", timeout=10)
failed = False


@contextmanager
def check(what):
    global failed
    try:
        yield
    except Exception as error:
        failed = True
        print(f"FAIL  {label}, PyJWT: {what}: {error!r}")
    else:
        print(f"ok    {label}, PyJWT: {what}")


def equal(found, wanted):
    if found != wanted:
        raise ValueError(f"{found!r}, not {wanted!r}")


def refused(error, *arguments, **named):
    try:
        decode(*arguments, **named)
    except error:
        return
    raise ValueError("it was taken")


def decode(token, key=public_key, audience=audience, issuer=issuer, **options):
    required = ["iss", "aud", "iat", "nbf", "exp"]
    return jwt.decode(
        token,
        key,
        algorithms=["ES256"],
        audience=audience,
        issuer=issuer,
        options={"require": required, **options},
    )


def tampered(token):
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["sub"] = "eve"
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"{header}.{payload}.{signature}"


with check("the auth token is good under public_key"):
    claims = decode(auth)
    equal(decode(auth, audience=expected["aud"][1]), claims)

with check("its claims"):
    claims = decode(auth)
    equal({name: claims.get(name) for name in expected}, expected)
    equal(claims["jti"], claims["jid"])
    equal(claims["sid"], grant["session_id"])
    equal(claims["exp"] - claims["iat"], grant["expires_in"])

with check("its header"):
    wanted = {"alg": "ES256", "kid": grant["key_id"], "typ": "JWT"}
    equal(jwt.get_unverified_header(auth), wanted)

with check("both tokens are good under the key of the JWKS"):
    key = jwks.get_signing_key_from_jwt(auth)
    decode(auth, key)
    decode(refresh, jwks.get_signing_key_from_jwt(refresh), verify_aud=False)

with check("another audience refuses the auth token"):
    refused(jwt.InvalidAudienceError, auth, audience="elsewhere")

with check("another issuer's verifier refuses the auth token"):
    refused(jwt.InvalidIssuerError, auth, issuer="elsewhere")

with check("an auth token with another subject is refused"):
    refused(jwt.InvalidSignatureError, tampered(auth))

with check("the refresh token is signed by the same key for the same session"):
    claims = decode(refresh, verify_aud=False)
    equal(claims["type"], "refresh")
    equal(claims["jid"], decode(auth)["jid"])
    equal(claims["sid"], grant["session_id"])
    equal(claims["exp"] - claims["iat"], grant["refresh_expires_in"])
    wanted = {"alg": "ES256", "kid": grant["key_id"], "typ": "rt+jwt"}
    equal(jwt.get_unverified_header(refresh), wanted)

with check("a verifier of audiences refuses the refresh token"):
    for name in expected["aud"]:
        refused(jwt.InvalidAudienceError, refresh, audience=name)

sys.exit(failed)
