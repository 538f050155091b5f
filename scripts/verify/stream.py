"""Verifies auth tokens with PyJWT for as long as they come, as a resource server in Python does.

stream.py JWKS ISSUER AUDIENCE MAX_AGE: a token a line; answers each with a line of JSON.
"""

import json
import sys

import jwt

uri, issuer, audience, max_age = sys.argv[1:]


class Client(jwt.PyJWKClient):
    fetches = 0

    def fetch_data(self):
        self.fetches += 1
        return super().fetch_data()


# An unknown key is no reason to fetch again: it has to have been there at the last regular time.
jwks = Client(uri, lifespan=float(max_age), cooldown_duration=3600, timeout=10)


def verify(token):
    try:
        key = jwks.get_signing_key_from_jwt(token)
    except jwt.PyJWKClientConnectionError as error:
        return repr(error)
    except jwt.PyJWKClientError:
        return "unknown key"
    except Exception as error:
        return repr(error)
    try:
        jwt.decode(token, key, algorithms=["ES256"], audience=audience, issuer=issuer)
    except Exception as error:
        return repr(error)
    return "good"


for line in sys.stdin:
    verdict = verify(line.strip())
    print(json.dumps({"verdict": verdict, "fetches": jwks.fetches}), flush=True)
