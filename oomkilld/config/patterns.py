# SPDX-License-Identifier: Apache-2.0
"""The patterns of secrets that are hidden in command lines: the default ones, and the check of a pattern.

Standard library only. record/cmdline/redact.py matches them.
"""

# In the configured list, this stands for the default patterns.
DEFAULT = "default"
# More than any list needs. The cost of a kill grows with both.
MAX_PATTERNS = 200
MAX_PATTERN_CHARACTERS = 100
EXPECTED = (
    "a pattern such as 'password *', 'mysql ** -p*' or '://*:*@' (the last * is hidden; a space, only before the first "
    "*, separates a name from its value; the name of a program stands before **), or 'default'"
)
# Separates the name of a program from a pattern for its arguments.
OF_PROGRAM = " ** "
# After a name: the name may continue, as in DB_PASSWORD_PROD=.
GOES_ON = "~ "

_MYSQL = ("mysql", "mysqldump", "mysqladmin", "mysqlimport", "mysqlcheck", "mysqlshow", "mysqlpump", "mariadb")
_MONGO = ("mongo", "mongosh", "mongodump", "mongorestore", "mongoexport", "mongoimport")
_LDAP = ("ldapsearch", "ldapadd", "ldapmodify", "ldapdelete", "ldapwhoami")
_LOGIN = ("docker login", "podman login", "az login", "oc login", "registry login", "sshpass")

DEFAULT_PATTERNS = (
    # Values of these names: after "=" or ":", after a blank, or in the next argument.
    *("password *", "passwords *", "passwd *", "passphrase *", "passcode *", "pwd *", " pass *", "pass=*", "Pass *"),
    *("secret *", "secrets=*", "token *", "api-key *", "apikey *", "access-key *", "accesskey *", "auth-key *"),
    *("authkey *", "secret-key *", "secretkey *", "secret-id=*", "private-key *", "account-key *", "accountkey *"),
    *("encryption-key *", "master-key *", "signing-key *", "credential *", "credentials *", "signature *"),
    *("session-id *", "sessionid *", "requirepass *", "masterauth *", "identified by *"),
    # Values of names that begin with these, after "=" or ": ".
    *("password~ *", "passwords~ *", "passwd~ *", "passphrase~ *", " pass~ *", "secret~ *", "secrets~ *", "token~ *"),
    *("api-key~ *", "apikey~ *", "access-key~ *", "credential~ *", "credentials~ *"),
    # HTTP headers.
    *("authorization *", "bearer *", "cookie *"),
    # Users with their passwords.
    *("://*:*@", "https://*@", "http://*@", "?sig=*", "&sig=*"),
    *("-u *:*", "--user *:*", "--user *%*", "--proxy-user *:*"),
    # Options of programs.
    *(f"{program} ** -p*" for program in _MYSQL),
    *(f"{program} ** -p *" for program in (*_MONGO, *_LOGIN)),
    *(f"{program} ** -w *" for program in _LDAP),
    *("curl ** -u *:*", "curl ** -U *:*", "smbclient ** -U *%*", "rpcclient ** -U *%*", "lftp ** -u *,*"),
    *("redis-cli ** -a *", "sqlcmd ** -P *", "bcp ** -P *", "ipmitool ** -P *", "zip ** -P *", "unzip ** -P *"),
    *("7z ** -p*", "7za ** -p*", "7zz ** -p*"),
    *("openssl ** -k *", "openssl ** -K *", "snmpwalk ** -A *", "snmpget ** -A *"),
    # Secrets with a recognisable form: of AWS, GitHub, GitLab, Slack, Stripe, OpenAI, Anthropic, Google, npm, Hashicorp
    # Vault; JSON web tokens; private keys.
    *("AKIA*", "ASIA*", "ghp_*", "gho_*", "ghu_*", "ghs_*", "ghr_*", "github_pat_*", "glpat-*"),
    *("xoxb-*", "xoxp-*", "xoxa-*", "sk_live_*", "rk_live_*", "sk-proj-*", "sk-ant-*", "AIza*", "npm_*", "hvs.*"),
    *("eyJ*", "-----BEGIN*"),
)
# A name that continues and ends in one of these has no secret as its value, only its place or a property of it.
HARMLESS_ENDS = (
    *("file", "path", "dir", "name", "id", "url", "uri", "endpoint", "type", "length", "len", "count", "size", "limit"),
    *("ttl", "age", "expiry", "expires", "timeout", "policy", "env", "enabled", "required", "through", "prompt"),
    *("stdin", "method", "algorithm", "format", "version", "mode", "class", "provider", "ref", "interval", "attempts"),
    *("retries", "store", "manager", "host", "port", "user", "budget"),
)


def fault(pattern: str) -> str | None:
    """The error in a pattern; None: it is valid."""
    program, of_program, arguments = pattern.rpartition(OF_PROGRAM)
    _first, star, rest = arguments.partition("*")
    faults = {
        f"more than {MAX_PATTERN_CHARACTERS} characters": len(pattern) > MAX_PATTERN_CHARACTERS,
        "no *: it would hide nothing": not star,
        "no name of a program before **": bool(of_program) and (not program.strip() or "*" in program),
        "two * in a row": "**" in arguments,
        "nothing but * and spaces: it would hide everything": not arguments.strip("* "),
        "a space after the first *": " " in rest,
        "a character that is not printable": not pattern.isprintable(),
    }
    return next((reason for reason, found in faults.items() if found), None)


def expanded(patterns: list[str]) -> list[str]:
    """Replace the name DEFAULT by the default patterns."""
    every = (DEFAULT_PATTERNS if pattern == DEFAULT else (pattern,) for pattern in patterns)
    return [pattern for some in every for pattern in some]
