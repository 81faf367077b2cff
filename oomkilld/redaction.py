# SPDX-License-Identifier: Apache-2.0
"""The patterns of what is hidden of a command line: those by default, and what one must be like.

Standard library only. How they are matched: record/redact.py.
"""

# In the list of the configuration: the patterns below.
DEFAULT = "default"
# More than any list needs; what a kill costs grows with both.
MAX_PATTERNS = 200
MAX_PATTERN_CHARACTERS = 100
EXPECTED = (
    "a pattern such as 'password *' or '://*:*@' (the last * is hidden; a space, only before the first *, is what "
    "separates a name from its value), or 'default'"
)

DEFAULT_PATTERNS = (
    # What such a name is given: after "=" or ":", after a blank, or in the next argument.
    *("password *", "passwd *", "passphrase *", "passcode *", "pwd *", "pass *", "secret *", "token *"),
    *("api-key *", "apikey *", "access-key *", "accesskey *", "secret-key *", "secretkey *", "private-key *"),
    *("account-key *", "accountkey *", "credential *", "credentials *", "signature *", "session-id *", "sessionid *"),
    # Headers of HTTP.
    *("authorization *", "bearer *", "cookie *"),
    # Users with their passwords.
    *("://*:*@", "-u *:*", "--user *:*", "--proxy-user *:*"),
    "sshpass -p *",
    # What tells by itself what it is: of AWS, GitHub, GitLab, Slack, Stripe, OpenAI, Anthropic, Google, npm, Hashicorp
    # Vault; a JSON web token; a private key.
    *("AKIA*", "ASIA*", "ghp_*", "gho_*", "ghu_*", "ghs_*", "ghr_*", "github_pat_*", "glpat-*"),
    *("xoxb-*", "xoxp-*", "xoxa-*", "sk_live_*", "rk_live_*", "sk-proj-*", "sk-ant-*", "AIza*", "npm_*", "hvs.*"),
    *("eyJ*", "-----BEGIN*"),
)


def fault(pattern: str) -> str | None:
    """What is wrong with a pattern; None: nothing."""
    _first, star, rest = pattern.partition("*")
    faults = {
        f"more than {MAX_PATTERN_CHARACTERS} characters": len(pattern) > MAX_PATTERN_CHARACTERS,
        "no *: it would hide nothing": not star,
        "two * in a row": "**" in pattern,
        "nothing but * and spaces: it would hide everything": not pattern.strip("* "),
        "a space after the first *": " " in rest,
        "a character that is not printable": not pattern.isprintable(),
    }
    return next((reason for reason, found in faults.items() if found), None)


def expanded(patterns: list[str]) -> list[str]:
    """With the default ones in place of their name."""
    every = (DEFAULT_PATTERNS if pattern == DEFAULT else (pattern,) for pattern in patterns)
    return [pattern for some in every for pattern in some]
