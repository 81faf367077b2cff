# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What packaging/install and packaging/try have in common, sourced by both: the Debian packages, the program
# in a directory, messages.

me=packaging/$(basename -- "$0")
source_tree=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly me source_tree

say() { printf '%s: %s\n' "$me" "$1"; }

die() { # message, what to do
	printf "$me: %s\n" "$@" >&2
	exit 1
}

# The version that apt would install; empty while apt has no lists yet.
candidate() { # package
	LC_ALL=C apt-cache policy "$1" | sed -n 's/^  Candidate: //p' | grep -vxF '(none)' || true
}

# Whether the distribution's own pydantic will do; else it goes into a virtual environment with pip.
decide() {
	local version
	version=$(candidate python3-pydantic)
	# While apt has no lists, the release tells: Debian 12 is the last with pydantic 1.
	# shellcheck source=/dev/null
	version=${version:-$(. /etc/os-release && [[ ${VERSION_ID:-13} -ge 13 ]] && echo 2)}
	if [[ -n $version ]] && dpkg --compare-versions "$version" ge 2; then
		pydantic_from=debian
	else
		pydantic_from=pypi
	fi
}

# A fresh machine's apt knows no package yet.
apt_has_lists() {
	[[ -n $(candidate python3-pydantic) ]]
}

# What the program needs.
packages() {
	echo python3 python3-bpfcc python3-systemd
	if [[ $pydantic_from == debian ]]; then echo python3-pydantic; else echo python3-venv; fi
	# Of the processors that want it; see oomkilld/record/ring.py.
	if [[ $(dpkg --print-architecture) != amd64 ]]; then echo libatomic1; fi
}

missing_of() { # package…
	local package
	for package; do
		[[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
	done
}

apt_install() { # apt's own option or package…
	DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends "$@" >/dev/null ||
		die "the packages could not be installed" "see apt's messages above"
}

copy_package() { # to
	(cd "$source_tree" && find oomkilld -type f \( -name '*.py' -o -name '*.c' -o -name '*.h' \) -print0 |
		xargs -0 cp --parents --no-preserve=ownership,mode -t "$1")
}

# What must be fetched for the program is fetched and built here, before anything is put where it shall be.
# pip never resolves bcc: PyPI's package of that name is another project.
prepare_program() { # scratch directory
	[[ $pydantic_from == pypi ]] || return 0
	mkdir "$1/source"
	copy_package "$1/source"
	cp "$source_tree"/{pyproject.toml,README.md,LICENSE} "$1/source"
	/usr/bin/python3 -m venv --system-site-packages "$1/venv"
	"$1/venv/bin/python3" -m pip wheel --quiet --no-cache-dir -w "$1/wheels" 'pydantic>=2,<3'
	"$1/venv/bin/python3" -m pip wheel --quiet --no-cache-dir --no-deps -w "$1/wheels" "$1/source"
}

put_program() { # scratch directory, where: bin/oomkilld will be there
	if [[ $pydantic_from == debian ]]; then put_program_plainly "$2"; else put_program_in_venv "$1" "$2"; fi
}

# The distribution's pydantic: plain files and the system's interpreter.
put_program_plainly() { # where
	mkdir -p "$1/lib" "$1/bin"
	copy_package "$1/lib"
	/usr/bin/python3 -I -m compileall -q "$1/lib"
	cat >"$1/bin/oomkilld" <<-END
		#!/usr/bin/python3 -I
		import sys

		sys.path.insert(0, "$1/lib")
		from oomkilld.__main__ import main

		sys.exit(main())
	END
	chmod 755 "$1/bin/oomkilld"
}

put_program_in_venv() { # scratch directory, where
	/usr/bin/python3 -m venv --system-site-packages --without-pip "$2"
	"$1/venv/bin/python3" -m pip --python "$2/bin/python3" install --quiet --no-cache-dir --no-index --no-deps "$1/wheels"/*.whl
}
