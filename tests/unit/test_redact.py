# SPDX-License-Identifier: Apache-2.0
"""What is hidden in a command line, what is shown, and that no text takes long."""

import time

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomkilld.config import patterns
from oomkilld.record.cmdline.redact import Redactor

DEFAULT = Redactor(patterns.DEFAULT_PATTERNS)
HEADER = "Authorization: Bearer abc"


def line(*arguments: str) -> bytes:
    return b"".join(argument.encode() + b"\0" for argument in arguments)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        # Secrets with a name.
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
        (["sshpass", "-p", "s3cret", "ssh"], ["sshpass", "-p", "***", "ssh"]),
        (["sshpass", "-ps3cret", "ssh"], ["sshpass", "-p***", "ssh"]),
        # Headers.
        (["curl", "-H", HEADER, "-v"], ["curl", "-H", "Authorization: ***", "-v"]),
        (["curl", "-HAUTHORIZATION:Basic abc"], ["curl", "-HAUTHORIZATION:***"]),
        (["curl", "-H", "Cookie: id=1; b=2"], ["curl", "-H", "Cookie: ***"]),
        # Users with their passwords.
        (["psql", "postgres://joe:s3cret@db/x"], ["psql", "postgres://joe:***@db/x"]),
        (["psql", "postgres://joe:s3@cret@db/x"], ["psql", "postgres://joe:***@db/x"]),
        (["x", "http://a:b@c,http://d:e@f"], ["x", "http://a:***@f"]),
        (["curl", "-u", "joe:s3cret", "x"], ["curl", "-u", "joe:***", "x"]),
        # Secrets that are known by their form.
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
def test_harmless_text_is_shown(arguments: list[str]) -> None:
    assert DEFAULT.redact(line(*arguments)) == line(*arguments)


# Command lines, one per row; ¤ is the secret.
SECRETS = r"""
mysql -p¤
mysql -u root -p¤ db
/usr/bin/mysqldump --single-transaction -p¤ --all-databases
mysqladmin -h db -p¤ ping
mariadb -p¤
mariadb-dump -p¤ shop
mysql --password=¤
mysql -e "ALTER·USER·joe·IDENTIFIED·BY·'¤'"
mongosh --host db -u joe -p ¤
mongo -p¤
mongodump --password ¤
sshpass -p ¤ ssh joe@host
sshpass -p¤ ssh joe@host
redis-cli -h db -a ¤ ping
redis-server --requirepass ¤
redis-server --masterauth ¤
sqlcmd -S db -U sa -P ¤ -Q select
sqlcmd -P¤
bcp shop out x -P ¤
psql postgres://joe:¤@db/shop
psql "host=db·user=joe·password=¤"
env PGPASSWORD=¤ psql
ldapsearch -x -D cn=admin -w ¤
ldapadd -w¤
curl -u joe:¤ https://host/
curl -ujoe:¤ https://host/
curl --user joe:¤ https://host/
curl -U proxy:¤ https://host/
curl -H Authorization:·Bearer·¤ https://host/
curl -H X-Auth-Key:·¤ https://host/
curl -H X-Api-Key:·¤ https://host/
curl -HX-Auth-Token:¤ https://host/
curl -b "session-id=¤" https://host/
curl -d '{"user":·"joe",·"password":·"¤"}' https://host/
curl -d {"db_password_prod":·"¤"} https://host/
curl -d user=joe&password%3D¤ https://host/
curl -d grant_type=password&pass=¤ https://host/
curl https://host/?user=joe&token=¤
curl https://host/?auth_token%3d¤
curl https://¤@host/path
sh -c "curl·-d·'{\"password\":·\"¤\"}'·https://host/"
sh -c "mysql·-p¤·db"
sh -c 'PASSWORD="¤"·run'
bash -c export·SECRET_KEY_BASE=¤;·rails·s
env SECRET_KEY_BASE=¤ rails s
env DB_PASSWORD_PROD=¤ run
env API_TOKEN_V2=¤ run
env dbPasswordProd=¤ run
run --passwords=¤
run --passwords ¤
run PASSWORD[0]=¤
run user[password]=¤
run --password -- ¤
run --password→¤
run --password1=¤
run "password·=·¤"
run password→=→¤
smbclient -U joe%¤ //host/share
smbclient //host/share -UDOM/joe%¤
smbclient --user=joe%¤ //host/share
mount.cifs //host/share /mnt -o username=joe,password=¤
rpcclient -U joe%¤ host
lftp -u joe,¤ host
docker run -e MYSQL_ROOT_PASSWORD=¤ mysql
docker run --env=POSTGRES_PASSWORD=¤ postgres
docker login -u joe -p ¤ registry
helm install x --set auth.postgresPassword=¤
helm registry login -u joe -p ¤ host
helm install x --set db.pass=¤
kubectl --token=¤ get pods
kubectl create generic x --from-literal=password=¤
az login --service-principal -u app -p ¤
az storage blob list --account-key ¤
aws configure set aws_secret_access_key ¤
env AWS_SECRET_ACCESS_KEY=¤ aws s3 ls
vault write auth/approle/login role_id=1 secret_id=¤
git clone https://¤@host/repo.git
git clone https://joe:¤@host/repo.git
git -c http.extraheader=AUTHORIZATION:·basic·¤ fetch
java -Djavax.net.ssl.keyStorePassword=¤ Main
java -Dspring.datasource.password=¤ -jar x.jar
openssl rsa -passin pass:¤
openssl enc -aes-256-cbc -k ¤
rsync --password ¤
tar --passphrase=¤
7z a -p¤ x.7z
unzip -P ¤ x.zip
zip -P ¤ x.zip y
ipmitool -H host -U joe -P ¤ power
snmpwalk -v3 -u joe -A ¤ host
tailscale up --authkey=¤
gpg --batch --passphrase ¤
wget --http-password=¤ https://host/
restic --password-command=¤
ansible-playbook -e ansible_become_pass=¤ x.yml
"""
# Nothing in these is hidden.
HARMLESS = """
mysql -u root -p db
mysql -P3306 -u root
mysql --port=3306 --protocol=tcp
mysqld --port=3306
mongod --port 27017 --path /p
redis-server *:6379
redis-cli -h db -p 6379 ping
psql -U postgres -p 5432 shop
postgres -D /var/lib/postgresql/data
postgres:·writer·process
ssh -p 22 joe@host
sshpass -e ssh joe@host
sshpass -f /etc/p ssh joe@host
scp -P 22 x joe@host:/x
mkdir -p /a/b
cp -p a b
ps -u joe -o pid,comm
ps -p 1
journalctl -u nginx.service -p err
systemctl status -u x
docker run -p 80:80 nginx
docker run -p 127.0.0.1:8080:80 --name web nginx
docker run -u root nginx
podman run -P nginx
nginx -p /srv/www -c nginx.conf
nginx:·master·process
python3 -u app.py -p 8080
python3 -m http.server --port 8080
java -Xmx512m -Xms512m -jar x.jar -p 8080
java -Djava.io.tmpdir=/tmp Main
node --max-old-space-size=512 server.js
compass watch
compass --environment production
gem install compass
tokenizer --model bpe
run --tokenizer=bpe
run --max-tokens=5
run --max_tokens 5
run --num-tokens=5
run --token-type=jwt
run --token_url=https://host/token
run --token-ttl=5m
run --pass-through
run --pass-through=1
run --passive
run --passes=2
run --password-file=/etc/p
run --password-file /etc/p
run --password_file=/etc/p
run --passwordFile=/etc/p
run PASSWORD_FILE=/etc/p
run POSTGRES_PASSWORD_FILE=/run/secrets/p
run --passphrase-path=/etc/p
run --secret-name=web
run --secret-provider=vault
run --secrets-dir=/run/secrets
run --credentials-file=/etc/c
run --api-key-file=/etc/k
run --access-key-id=1
run --cookiefile
run --no-password
wget --user=joe https://host/x
curl -o x https://host:8443/x
curl --url http://host:80
curl -x http://proxy:3128 https://host/
curl ssh://git@host/x
git clone ssh://git@host/x
git clone git@host:x/y.git
npm install https://registry/@scope/name
go get host/x@v1.2.3
kubelet --port 10250
containerd-shim -namespace moby -id 1
https://token.example.com:8443/x
image/vault-secrets-webhook:1.2
/srv/compassion/app:x
grep -w word file
7z a -mx9 x.7z
zip -r x.zip y
unzip -p x.zip
tar -p -xf x.tar
rsync -a -p --port=873 a b
ldapsearch -x -W -b dc=x
lftp -e ls
openssl version -a
smbclient -L host -N
date -U +%s
awk {print·$1%2}
"""


def words(row: str) -> list[str]:
    """The arguments of a row. Within an argument, a dot stands for a space, an arrow for a tab."""
    return [word.replace("·", " ").replace("→", "\t") for word in row.split(" ")]


@pytest.mark.parametrize("row", SECRETS.strip().split("\n"))
def test_a_secret_in_a_real_command_line_is_hidden(row: str) -> None:
    before, _secret, _after = row.partition("¤")
    redacted = DEFAULT.redact(line(*words(row.replace("¤", "s3cret"))))
    assert b"s3c" not in redacted
    # The arguments before the one with the secret.
    assert redacted.startswith(line(*words(before)[:-1]))


@pytest.mark.parametrize("row", HARMLESS.strip().split("\n"))
def test_a_harmless_command_line_stays_whole(row: str) -> None:
    assert DEFAULT.redact(line(*words(row))) == line(*words(row))


@pytest.mark.parametrize(
    ("pattern", "text", "shown"),
    [
        ("-p*", b"a\0-px\0--port=80\0", b"a\0-p***\0--p***\0"),
        ("a*b*c", b"xa1b2c3\0", b"xa1b***c3\0"),
        ("a*b*c", b"a1\0b2c\0", b"a1\0b2c\0"),  # not within one argument
        ("a*b*c", b"aabbc2c\0", b"aab***c\0"),
        ("*@", b"me@x\0you\0", b"***@x\0you\0"),
        ("Key*", b"key1 Key2\0", b"key1 Key***\0"),  # with capitals, case matters
        ("key*", b"KEY1\0", b"KEY***\0"),
        ("a-b*", b"a_b1\0", b"a_b***\0"),
        ("a_b*", b"a-b1\0", b"a-b***\0"),
        ("k *", b"k==:1\0", b"k==:***\0"),
        ("k *", b"k\0\0\x001\0", b"k\0\0\0***\0"),
        ("-u *:*", b"-u\0a:b\0", b"-u\0a:***\0"),
        ("-u *:*", b"-u\0a\0b:c\0", b"-u\0a\0b:c\0"),
        (" k *", b"k=1\0ak=2\0-k=3\0k4=5\0(k:6\0", b"k=***\0ak=2\0-k=***\0k4=5\0(k:***\0"),
        (
            "k~ *",
            b"k=1\0k_a=2\0kb=3\0k_file=4\0k-a:5\0k-a: 6\0k1=7\0",
            b"k=1\0k_a=***\0kb=3\0k_file=4\0k-a:5\0k-a: ***\0k1=***\0",
        ),
        ("k~ *", b"aKFile=1\0akB=2\0ak\0b=3\0", b"aKFile=1\0akB=***\0ak\0b=3\0"),
        ("k~ *", b"k" * 9 + b"_" * 90 + b"=1\0", b"k" * 9 + b"_" * 90 + b"=1\0"),
        ("prog ** -p*", b"-p1\0/bin/prog\0-p2\0-P3\0--p4\0-p\x005\0", b"-p1\0/bin/prog\0-p***\0-P3\0--p4\0-p\x005\0"),
        ("prog ** -p*", b"progs\0-p2\0aprog\0-p3\0", b"progs\0-p2\0aprog\0-p3\0"),
        ("a b ** -p *", b"A\0b\0-p2\0x-p3\0-p\x004\0-p=5\0", b"A\0b\0-p***\0x-p3\0-p\0***\0-p=***\0"),
        (
            "k *",
            b'k%3D1\0k%3a2\0k\\"3\0k\t4\0k[5\0k\0--\x006\0',
            b'k%3D***\0k%3a***\0k\\"***\0k\t***\0k[***\0k\0--\0***\0',
        ),
        (
            "x://*@",
            b"x://a@b\0x://c/d@e\0x://f:g@h\0x://i/x://j@k\0",
            b"x://***@b\0x://c/d@e\0x://f:g@h\0x://i/x://***@k\0",
        ),
        ("ä*", "xä1".encode() + b"\0", "xä***".encode() + b"\0"),
    ],
)
def test_the_meaning_of_patterns(pattern: str, text: bytes, shown: bytes) -> None:
    assert Redactor([pattern]).redact(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"x\0http://joe:s3cre", b"x\0http://joe:***"),  # the text that follows a password may have been cut off
        (b"x\0http://joe:s3@cre", b"x\0http://joe:***"),
        (b"x\0http://joe", b"x\0http://joe"),
        (b"x\0--password=s3", b"x\0--password=***"),
        (b"x\0--password", b"x\0--password"),
    ],
)
def test_a_cut_secret_is_hidden_too(text: bytes, shown: bytes) -> None:
    assert DEFAULT.redact(text) == shown


def test_overlapping_matches_give_one_mark() -> None:
    assert Redactor(["a*", "b*c", "c*"]).redact(b"xa1b2c3\0c4\0") == b"xa***\0c***\0"
    # The second match begins within the first and ends after it.
    assert Redactor(["a*c", "b*"]).redact(b"xa1b2c3\0") == b"xa***\0"


BOUND = 4096
HOSTILE = [
    *(b"://", b"AKIA\0", b"password ", b"password\0", b"secret=", b"-u:", b"-u :\0", b"-u\0", b"-u \0:", b"a", b"\0"),
    *(
        b"password-",
        b"passwords_x",
        b"token~=",
        b"pass1",
        b"https://",
        b"https://x",
        b"https://@:",
        b"mysql\0",
        b"mysql -p",
    ),
    *(b"\0--", b"%3D", b"[", b"mysqlmysqlx", b"secret-" * 9 + b"file="),
    *(b"=", b":", b"@", b"://:@", b"authorization:\0", b"-----BEGI", b"pass", b"eyJ" * 3 + b"\0", b"-" * 9),
]


@pytest.mark.parametrize("piece", HOSTILE, ids=repr)
def test_a_hostile_text_takes_linear_time(piece: bytes) -> None:
    # Ten times the text: with quadratic cost it would take a hundred times as long.
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


@hypothesis.settings(max_examples=300)
@given(st.lists(WORDS, max_size=30), st.lists(PATTERNS, max_size=4))
def test_only_hidden_text_changes(words: list[str], own: list[str]) -> None:
    text = "".join(words).encode()
    known = [pattern for pattern in own if patterns.fault(pattern) is None]
    for redactor in (DEFAULT, Redactor(known)):
        redacted = redactor.redact(text)
        # The remaining pieces occur in their order.
        at = 0
        for piece in redacted.split(b"***"):
            found = text.find(piece, at)
            assert found >= 0
            at = found + len(piece)
        assert redacted.count(b"\0") <= text.count(b"\0")


@hypothesis.settings(max_examples=200)
@given(st.text("ab@x \0", max_size=20), st.text("ab@x", min_size=1, max_size=5), st.text("ab@x \0", max_size=20))
def test_a_match_is_hidden_whatever_surrounds_it(before: str, secret: str, after: str) -> None:
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
        (" ** -p*", "no name of a program before **"),
        ("a*b ** -p*", "no name of a program before **"),
        ("a ** b ** -p*", "no name of a program before **"),
        ("a **-p*", "two * in a row"),
        ("a ** -p", "no *: it would hide nothing"),
        ("a\n*", "a character that is not printable"),
        ("a" * 100 + "*", "more than 100 characters"),
    ],
)
def test_an_invalid_pattern_has_a_reason(pattern: str, reason: str) -> None:
    assert patterns.fault(pattern) == reason


def test_the_default_patterns_are_valid() -> None:
    assert [pattern for pattern in patterns.DEFAULT_PATTERNS if patterns.fault(pattern)] == []
    assert len(set(patterns.DEFAULT_PATTERNS)) == len(patterns.DEFAULT_PATTERNS)
    assert patterns.expanded(["a*", "default"]) == ["a*", *patterns.DEFAULT_PATTERNS]
