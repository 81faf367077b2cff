# SPDX-License-Identifier: Apache-2.0
"""What is hidden of a command line, what is not, and how long that takes whatever the text."""

import time

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomkilld import redaction
from oomkilld.record.redact import Redactor

DEFAULT = Redactor(redaction.DEFAULT_PATTERNS)
HEADER = "Authorization: Bearer abc"


def line(*arguments: str) -> bytes:
    return b"".join(argument.encode() + b"\0" for argument in arguments)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        # What has a name.
        (["mysql", "--password=s3cret", "-v"], ["mysql", "--password=***", "-v"]),
        (["mysql", "--password", "s3cret", "-v"], ["mysql", "--password", "***", "-v"]),
        (["x", "PGPASSWORD=s3cret"], ["x", "PGPASSWORD=***"]),
        (["x", "--db_password=a b c"], ["x", "--db_password=***"]),
        (["x", "--password=", "v"], ["x", "--password=", "***"]),
        (["x", "--password=a=b=c"], ["x", "--password=***"]),
        (["java", "-Djavax.net.ssl.keyStorePassword=changeit", "Main"], None),
        (["x", "--token", "s3cret", "--token", "other"], ["x", "--token", "***", "--token", "***"]),
        (["x", "--token", "--token", "s3cret"], ["x", "--token", "***", "***"]),
        (["x", "--auth-token:s3cret"], ["x", "--auth-token:***"]),
        (["x", "--api-key=k", "--api_key=k", "--apikey=k", "API_KEY=k"], None),
        (["x", "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG"], ["x", "AWS_SECRET_ACCESS_KEY=***"]),
        (["x", "--client-secret", "s3cret"], ["x", "--client-secret", "***"]),
        (["x", '{"user":"joe", "password": "s3cret"}'], ["x", '{"user":"joe", "password": "***']),
        (["sh", "-c", "PASSWORD=s3cret run"], ["sh", "-c", "PASSWORD=***"]),
        (["openssl", "-passin", "pass:s3cret"], ["openssl", "-passin", "pass:***"]),
        (["sshpass", "-p", "s3cret", "ssh"], ["sshpass", "***", "***", "ssh"]),
        (["sshpass", "-ps3cret", "ssh"], ["sshpass", "***", "ssh"]),
        # Headers.
        (["curl", "-H", HEADER, "-v"], ["curl", "-H", "Authorization: ***", "-v"]),
        (["curl", "-HAUTHORIZATION:Basic abc"], ["curl", "-HAUTHORIZATION:***"]),
        (["curl", "-H", "Cookie: id=1; b=2"], ["curl", "-H", "Cookie: ***"]),
        # Users with their passwords.
        (["psql", "postgres://joe:s3cret@db/x"], ["psql", "postgres://joe:***@db/x"]),
        (["psql", "postgres://joe:s3@cret@db/x"], ["psql", "postgres://joe:***@db/x"]),
        (["x", "http://a:b@c,http://d:e@f"], ["x", "http://a:***@f"]),
        (["curl", "-u", "joe:s3cret", "x"], ["curl", "-u", "joe:***", "x"]),
        # What tells by itself.
        (["x", "AKIAIOSFODNN7EXAMPLE"], ["x", "AKIA***"]),
        (["x", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"], ["x", "ghp_***"]),
        (["x", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x"], ["x", "eyJ***"]),
        (["x", "-----BEGIN PRIVATE KEY-----\nabc"], ["x", "-----BEGIN***"]),
    ],
)
def test_a_secret_is_hidden(arguments: list[str], shown: list[str] | None) -> None:
    redacted = DEFAULT.redact(line(*arguments))
    if shown is not None:
        assert redacted == line(*shown)
    for secret in (b"s3cret", b"changeit", b"=k", b"wJal", b"abc", b"ODNN"):
        assert secret not in redacted


@pytest.mark.parametrize(
    "arguments",
    [
        ["/usr/bin/python3", "-m", "http.server", "80"],
        ["nginx", "-g", "daemon off;"],
        ["x", "--tokenizer=bpe", "--max-tokens=5", "--password-file", "/etc/p"],
        ["x", "/maps/slovakia.osm", "Asia/Tokyo", "/dev/disk-1", "ssh://git@host/x"],
        ["x", "http://host:80/", "joe@host", "/eyjafjallajokull"],
        ["npm", "install", "https://registry/@scope/name"],
        ["", "", "x", ""],
        [],
    ],
)
def test_what_is_no_secret_is_shown(arguments: list[str]) -> None:
    assert DEFAULT.redact(line(*arguments)) == line(*arguments)


@pytest.mark.parametrize(
    ("pattern", "text", "shown"),
    [
        ("-p*", b"a\0-px\0--port=80\0", b"a\0-p***\0--p***\0"),
        ("a*b*c", b"xa1b2c3\0", b"xa1b***c3\0"),
        ("a*b*c", b"a1\0b2c\0", b"a1\0b2c\0"),  # not of one argument
        ("a*b*c", b"aabbc2c\0", b"aab***c\0"),
        ("*@", b"me@x\0you\0", b"***@x\0you\0"),
        ("Key*", b"key1 Key2\0", b"key1 Key***\0"),  # capitals: case matters
        ("key*", b"KEY1\0", b"KEY***\0"),
        ("a-b*", b"a_b1\0", b"a_b***\0"),
        ("a_b*", b"a-b1\0", b"a-b***\0"),
        ("k *", b"k==:1\0", b"k==:***\0"),
        ("k *", b"k\0\0\x001\0", b"k\0\0\0***\0"),
        ("-u *:*", b"-u\0a:b\0", b"-u\0a:***\0"),
        ("-u *:*", b"-u\0a\0b:c\0", b"-u\0a\0b:c\0"),
        ("ä*", "xä1".encode() + b"\0", "xä***".encode() + b"\0"),
    ],
)
def test_what_a_pattern_means(pattern: str, text: bytes, shown: bytes) -> None:
    assert Redactor([pattern]).redact(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"x\0http://joe:s3cre", b"x\0http://joe:***"),  # what follows a password may have been cut off
        (b"x\0http://joe:s3@cre", b"x\0http://joe:***"),
        (b"x\0http://joe", b"x\0http://joe"),
        (b"x\0--password=s3", b"x\0--password=***"),
        (b"x\0--password", b"x\0--password"),
    ],
)
def test_a_secret_that_was_cut_is_hidden_too(text: bytes, shown: bytes) -> None:
    assert DEFAULT.redact(text) == shown


def test_what_overlaps_has_one_mark() -> None:
    assert Redactor(["a*", "b*c", "c*"]).redact(b"xa1b2c3\0c4\0") == b"xa***\0c***\0"
    # The one begins within the other, and ends behind it.
    assert Redactor(["a*c", "b*"]).redact(b"xa1b2c3\0") == b"xa***\0"


BOUND = 4096
HOSTILE = [
    *(b"://", b"AKIA\0", b"password ", b"password\0", b"secret=", b"-u:", b"-u :\0", b"-u\0", b"-u \0:", b"a", b"\0"),
    *(b"=", b":", b"@", b"://:@", b"authorization:\0", b"-----BEGI", b"pass", b"eyJ" * 3 + b"\0", b"-" * 9),
]


@pytest.mark.parametrize("piece", HOSTILE, ids=repr)
def test_a_hostile_text_takes_no_longer_than_its_length(piece: bytes) -> None:
    # The tenfold text: were it the square of the length, it would take a hundred times as long.
    def seconds(text: bytes) -> float:
        best = 60.0
        for _ in range(7):
            started = time.process_time()
            DEFAULT.redact(text)
            best = min(best, time.process_time() - started)
        return best

    short, long = (piece * (length // len(piece)) for length in (BOUND, 10 * BOUND))
    assert seconds(long) < 30 * max(seconds(short), 0.0005)


WORDS = st.sampled_from(["password", "=", ":", " ", "\0", "://", "@", "a", "AKIA", "-u", "token", '"', "x", "_", "-"])
PATTERNS = st.lists(st.sampled_from(["a", "b", "*", " ", "@", "-"]), min_size=1, max_size=6).map("".join)


@hypothesis.settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=30), st.lists(PATTERNS, max_size=4))
def test_nothing_but_what_is_hidden_changes(words: list[str], patterns: list[str]) -> None:
    text = "".join(words).encode()
    known = [pattern for pattern in patterns if redaction.fault(pattern) is None]
    for redactor in (DEFAULT, Redactor(known)):
        redacted = redactor.redact(text)
        # What is left is there in order.
        at = 0
        for piece in redacted.split(b"***"):
            found = text.find(piece, at)
            assert found >= 0
            at = found + len(piece)
        assert redacted.count(b"\0") <= text.count(b"\0")


@hypothesis.settings(max_examples=200, deadline=None)
@given(st.text("ab@x \0", max_size=20), st.text("ab@x", min_size=1, max_size=5), st.text("ab@x \0", max_size=20))
def test_whatever_stands_around_it_what_a_pattern_fits_is_hidden(before: str, secret: str, after: str) -> None:
    text = f"{before}a@SECRET{secret}@{after}\0".encode()
    assert b"SECRET" not in Redactor(["a*@*@"]).redact(text)
    assert b"SECRET" not in Redactor(["a@*"]).redact(text)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("password", "no *: it would hide nothing"),
        ("", "no *: it would hide nothing"),
        ("a**", "two * in a row"),
        ("*", "nothing but * and spaces: it would hide everything"),
        (" *", "nothing but * and spaces: it would hide everything"),
        ("a* b*", "a space after the first *"),
        ("a\n*", "a character that is not printable"),
        ("a" * 100 + "*", "more than 100 characters"),
    ],
)
def test_a_pattern_that_is_none(pattern: str, reason: str) -> None:
    assert redaction.fault(pattern) == reason


def test_the_default_ones_are_patterns() -> None:
    assert [pattern for pattern in redaction.DEFAULT_PATTERNS if redaction.fault(pattern)] == []
    assert len(set(redaction.DEFAULT_PATTERNS)) == len(redaction.DEFAULT_PATTERNS)
    assert redaction.expanded(["a*", "default"]) == ["a*", *redaction.DEFAULT_PATTERNS]
