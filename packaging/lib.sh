# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by packaging/install and packaging/try: the Debian packages, the program in a directory, messages.

# Neither the caller's environment nor the current directory decides where code is loaded from. Of pip's variables, only
# those remain that say how to reach an index: packages from there are checked by their hash.
unset -v CDPATH "${!PYTHON@}"
for name in "${!PIP_@}"; do
	case $name in
	PIP_INDEX_URL | PIP_EXTRA_INDEX_URL | PIP_CERT | PIP_CLIENT_CERT | PIP_TRUSTED_HOST | PIP_PROXY | PIP_TIMEOUT | PIP_RETRIES) ;;
	*) unset -v "$name" ;;
	esac
done
me=packaging/$(basename -- "$0")
source_tree=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly me source_tree
# pip reads the other usual variables itself, but not OpenSSL's.
if [[ -z ${PIP_CERT-}${REQUESTS_CA_BUNDLE-}${CURL_CA_BUNDLE-} && -n ${SSL_CERT_FILE-} ]]; then
	export PIP_CERT=$SSL_CERT_FILE
fi
cd /

say() { printf '%s: %s\n' "$me" "$1"; }

wrong_argument() { # argument
	usage >&2
	printf "$me: found '%s', expected one of the arguments above\n" "$1" >&2
}

die() { # message, what to do
	printf "$me: %s\n" "$@" >&2
	exit 1
}

# The version that apt would install; empty while apt has no lists.
candidate() { # package
	LC_ALL=C apt-cache policy "$1" | sed -n 's/^  Candidate: //p' | grep -vxF '(none)' || true
}

# Decides whether the distribution's pydantic is new enough; if not, pip fetches one, to be placed beside the program.
decide() {
	local version=""
	if installed python3-pydantic; then
		version=$(dpkg-query -W -f='${Version}' python3-pydantic)
	else
		version=$(candidate python3-pydantic)
	fi
	# While apt has no lists, the release decides: Debian 12 is the last with pydantic 1.
	# shellcheck source=/dev/null
	version=${version:-$(. /etc/os-release && [[ ${VERSION_ID:-13} -ge 13 ]] && echo 2)}
	if [[ -n $version ]] && dpkg --compare-versions "$version" ge 2; then
		pydantic_from=debian
	else
		pydantic_from=pypi
	fi
}

# A fresh machine's apt has no lists yet: from dpkg it knows the installed packages, and no others.
apt_knows() { # missing package…
	local package
	for package; do
		[[ -n $(candidate "$package") ]] || return 1
	done
}

# The packages that the program needs.
packages() {
	echo python3 python3-bpfcc python3-systemd
	if [[ $pydantic_from == debian ]]; then echo python3-pydantic; else echo python3-pip-whl; fi
	# Other processors need it; see oomkilld/record/capture/ring.py.
	if [[ $(dpkg --print-architecture) != amd64 ]]; then echo libatomic1; fi
}

installed() { # package
	[[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

missing_of() { # package…
	local package
	for package; do
		installed "$package" || echo "$package"
	done
}

apt_install() { # apt's own option or package…
	DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends "$@" >/dev/null ||
		die "apt could not install the packages" "see apt's messages above"
}

copy_package() { # to
	(cd "$source_tree" && find oomkilld -type f \( -name '*.py' -o -name '*.c' -o -name '*.h' -o -name '*.txt' -o -name '*.json' \) -print0 |
		xargs -0 cp --parents --no-preserve=ownership,mode -t "$1")
}

# Fetches what the program needs, before anything is installed: only built wheels, and only those whose hashes are in
# packaging/requirements.lock. The machine's pip knows from which index.
prepare_program() { # scratch directory
	[[ $pydantic_from == pypi ]] || return 0
	local pip=(/usr/share/python-wheels/pip-*.whl)
	/usr/bin/python3 -I "${pip[0]}/pip" install --quiet --root-user-action ignore --no-cache-dir --require-hashes --only-binary :all: --no-deps \
		--no-compile --target "$1/pydantic" -r "$source_tree/packaging/requirements.lock" ||
		die "pydantic could not be fetched, or is not what packaging/requirements.lock says" "see pip's messages above" \
			"if it does not trust the index's certificate: sudo env PIP_CERT=<file with the certificates to trust> $me" \
			"if it does not reach the index: sudo env https_proxy=<address> $me, or PIP_INDEX_URL=<address of another index>"
}

put_launcher() { # directory of the library, launcher, module
	cat >"$2" <<-END
		#!/usr/bin/python3 -I
		import sys

		sys.path.insert(0, "$1")
		from $3 import main

		sys.exit(main())
	END
	chmod 755 "$2"
}

# Installs plain files that the system's interpreter runs.
put_program() { # scratch directory, target directory, which gets bin/oomkilld and bin/oomkillctl
	mkdir -p "$2/lib" "$2/bin"
	copy_package "$2/lib"
	if [[ $pydantic_from == pypi ]]; then cp -R --no-preserve=ownership,mode "$1/pydantic/." "$2/lib"; fi
	/usr/bin/python3 -I -m compileall -q "$2/lib"
	put_launcher "$2/lib" "$2/bin/oomkilld" oomkilld.__main__
	put_launcher "$2/lib" "$2/bin/oomkillctl" oomkilld.ctl.main
}
