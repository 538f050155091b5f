"""Rotates the signing key while sessions are signed and renewed, and two verifiers are given every auth token.

rotations.py URL MAX_AGE STREAM_MJS: MAX_AGE is for how long verifiers may keep the JWKS, in seconds. The root key
is in the environment.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

ROTATIONS = 2
# Of so many grants one is a new session; the others renew the sessions that there are, in turn.
RENEWALS = 4
PAUSE = 0.1
# All that is waited for comes sooner, or not at all.
PATIENCE = 12
DEADLINE = 36
ISSUER = "https://sessions.example.com"
AUDIENCE = "web-app"

url, max_age, stream_mjs = sys.argv[1], int(sys.argv[2]), sys.argv[3]
root_key = os.environ.pop("RENEWD_ROOT_KEY")
began = time.monotonic()


def give_up(number, _frame):
    sys.exit(f"FAIL  ended by signal {number} after {time.monotonic() - began:.0f} s")


class Conflict(Exception):
    """Somebody else changed the same at this moment."""


def call(method, path, key, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": key, "Content-Type": "application/json"}
    request = urllib.request.Request(url + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        if error.code == 409:
            raise Conflict from error
        sys.exit(f"FAIL  {method} {path}: {error.code} {error.read().decode()}")


class Verifier:
    """A process with one remote JWKS for all of its life."""

    def __init__(self, name, command, ended):
        self.name = name
        self.fetches = 0
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        ended.callback(self.end)

    def ask(self, token):
        self.process.stdin.write(token + "\n")

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"FAIL  {self.name} ended")
        answer = json.loads(line)
        self.fetches = answer["fetches"]
        return answer["verdict"]

    def end(self):
        self.process.kill()
        self.process.wait()


class App:
    """An app with sessions, all of whose auth tokens are kept."""

    def __init__(self):
        policy = {"token_expire": 60, "refresh_expire": 120, "refresh_notbefore": 0}
        key = {"key_type": "ECDSA", "algo": "ES256", "rotation_period": 7776000}
        app = call("POST", "/root/create", root_key, {"name": "rotated", "issuer": ISSUER, **policy, **key})
        self.id, self.key = app["app_id"], app["app_key"]
        self.jwks = f"{url}/app/{self.id}/.well-known/jwks.json"
        self.refresh_tokens = []
        # With the key that signed it.
        self.tokens = {}

    def grant(self):
        """An auth token of a new session, or of one that is renewed."""
        if len(self.tokens) % RENEWALS == 0:
            return self.sign()
        return self.keep("renew", {"refresh_token": self.refresh_tokens.pop(0)})

    def sign(self):
        return self.keep("sign", {"sub": "ada@example.com", "aud": [AUDIENCE]})

    def keep(self, operation, body):
        client = {"ip": "203.0.113.7", "useragent": "Mozilla/5.0"}
        grant = call("POST", f"/app/{self.id}/{operation}", self.key, {**body, **client})
        self.refresh_tokens.append(grant["refresh_token"])
        token = grant["auth_token"]
        header = token.split(".")[0]
        header += "=" * (-len(header) % 4)
        self.tokens[token] = json.loads(base64.urlsafe_b64decode(header))["kid"]
        return token

    def rotate(self, what):
        path = f"/root/{self.id}/rotate/{what}"
        try:
            return call("POST", path, root_key)["key_id"]
        except Conflict:
            # The job that looks after the keys. It does so for an instant, every few seconds.
            return call("POST", path, root_key)["key_id"]

    def active(self):
        keys = call("GET", f"/root/{self.id}/signing-keys", root_key)["signing_keys"]
        return [key["key_id"] for key in keys if key["state"] == "active"]


def main(ended):
    app = App()
    arguments = [app.jwks, ISSUER, AUDIENCE, str(max_age)]
    stream_py = str(Path(__file__).with_name("stream.py"))
    verifiers = [
        Verifier("PyJWT", [sys.executable, stream_py, *arguments], ended),
        Verifier("jose", ["node", stream_mjs, *arguments], ended),
    ]
    failures = 0
    again = 0

    def verdicts(token):
        for verifier in verifiers:
            verifier.ask(token)
        return [verifier.answer() for verifier in verifiers]

    def expect(token, wanted, when):
        nonlocal failures
        for verifier, verdict in zip(verifiers, verdicts(token)):
            if verdict != wanted:
                failures += 1
                if failures <= 10:
                    key = app.tokens[token]
                    print(f"FAIL  {verifier.name}, {when}, key {key}: {verdict}, not {wanted}", file=sys.stderr)

    def use_until(done, when):
        nonlocal again
        patience = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > patience:
                sys.exit(f"FAIL  {when}: it does not end")
            expect(app.grant(), "good", when)
            # The former tokens in turn: some are of a key that signs no more.
            expect(list(app.tokens)[again % len(app.tokens)], "good", f"{when}, again")
            again += 1
            time.sleep(PAUSE)

    def use_for(seconds, when):
        end = time.monotonic() + seconds
        use_until(lambda: time.monotonic() >= end, when)

    used = time.monotonic()
    use_for(1, "at first")
    wanted = app.active()
    for number in range(1, ROTATIONS + 1):
        # The worst moment for a verifier: it has just fetched, and keeps what it has for the longest time.
        verifier = verifiers[number % len(verifiers)]
        fetches = verifier.fetches
        use_until(lambda: verifier.fetches > fetches, f"before rotation {number}")
        rotated = time.monotonic()
        key = app.rotate("signing-key")
        wanted.append(key)
        use_until(lambda: app.active() == [key], f"during rotation {number}")
        print(f"ok    rotation {number}: the next key signs after {time.monotonic() - rotated:.1f} s")
        use_for(1, f"after rotation {number}")

    former = list(app.tokens)
    for token in former:
        expect(token, "good", "at last")
    keys = set(app.tokens.values())
    if len(set(wanted)) != ROTATIONS + 1 or keys != set(wanted):
        failures += 1
        print(f"FAIL  the tokens are signed by {keys}, not by {wanted}", file=sys.stderr)
    for verifier in verifiers:
        # One that fetches more often has not used what it had.
        if verifier.fetches > (time.monotonic() - used) / max_age + 1:
            failures += 1
            print(f"FAIL  {verifier.name} fetched {verifier.fetches} times", file=sys.stderr)

    # What the above can find, it finds: without notice, keys come too soon and go too late.
    time.sleep(max_age + 0.2)
    expect(former[-1], "good", "before the emergency, fetched anew")
    app.rotate("pki")
    emergency = time.monotonic()
    token = app.sign()
    expect(token, "unknown key", "at once after the emergency")
    time.sleep(max(0, emergency + max_age + 1 - time.monotonic()))
    for old in former:
        expect(old, "unknown key", "after the emergency")
    expect(token, "good", "after the emergency")
    if not failures:
        print("ok    an emergency: a key that nobody fetched is unknown, and so is each that was revoked")
    print(f"rotations: {len(former)} tokens, {len(keys)} keys, {failures} failures")
    return failures > 0


signal.signal(signal.SIGTERM, give_up)
signal.signal(signal.SIGALRM, give_up)
signal.alarm(DEADLINE)
with ExitStack() as ended:
    failed = main(ended)
sys.exit(failed)
