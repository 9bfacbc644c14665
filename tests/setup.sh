#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# setup.sh python|run|test|long|deb|rpm|bundle|image: prepare this machine for a target of the Makefile.  Packages
# that are missing come by apt-get, which removes none and starts no service here; the package of this tree
# is installed into .venv as a wheel, again after a change, and all that pip brings with it is of the
# version that tests/pins.txt says.  With nothing to do it says nothing.
set -eu
section=$1
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

# Each is PROGRAM=PACKAGE: a program counts, wherever it came from, say docker-ce.  gencat is what
# comes with the C library's headers.
python='ensurepip=python3-venv'
run='runc=runc busybox=busybox-static'
test="crun=crun containerd=containerd dockerd=docker.io podman=podman conmon=conmon
  shellcheck=shellcheck mandoc=mandoc zsh=zsh fish=fish newuidmap=uidmap ip=iproute2 iptables=iptables
  fuse-overlayfs=fuse-overlayfs mksh=mksh cc=gcc gencat=libc6-dev
  systemctl=systemd debootstrap=debootstrap musl-gcc=musl-tools strace=strace"
# What packaging/debian/control has as Build-Depends, of Debian's own Python.
deb='dh=debhelper dh_python3=dh-python dpkg-buildpackage=dpkg-dev git=git jsonschema=python3-jsonschema
  plumbum=python3-plumbum tomlkit=python3-tomlkit yaml=python3-yaml'
bundle='patchelf=patchelf apt-get=apt dpkg-deb=dpkg /usr/bin/python3.11=python3.11-minimal'
long='rpmbuild=rpm rpmlint=rpmlint qemu-aarch64-static=qemu-user-static'
policy=/usr/sbin/policy-rc.d

die() {
  echo "make: $*" >&2
  exit 1
}

is_there() {
  if [ "$1" = ensurepip ]; then
    "$(interpreter)" -c 'import ensurepip, venv' 2>/dev/null
  elif [ -z "${2%%python3-*}" ]; then
    /usr/bin/python3 -I -c "import $1" 2>/dev/null
  else
    command -v "$1" >/dev/null
  fi
}

# $PYTHON, or Debian's: a python3 in front of PATH may be a shim that costs more than Python does.
interpreter() {
  [ -z "${PYTHON:-}" ] || { echo "$PYTHON" && return; }
  [ -x /usr/bin/python3 ] && echo /usr/bin/python3 || command -v python3 || echo python3
}

missing() {
  for pair in "$@"; do
    is_there "${pair%%=*}" "${pair#*=}" || echo "${pair#*=}"
  done | xargs # on one line
}

# Debian asks policy-rc.d before it starts a service.  Ours, which a killed run leaves, is known by
# its text.
forbid_services() {
  allow_services
  if [ -e $policy ] || [ -h $policy ]; then mv $policy $policy.nvcr; fi
  printf '#!/bin/sh\n# nvcr: for the time of an installation\nexit 101\n' >$policy
  chmod 755 $policy
}

allow_services() {
  if grep -qs '^# nvcr: ' $policy; then rm $policy; fi
  if [ -e $policy.nvcr ] || [ -h $policy.nvcr ]; then mv $policy.nvcr $policy; fi
}

apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" </dev/null >>"$log" 2>&1
}

install_packages() {
  echo "setup: apt-get install $*"
  log=$(mktemp)
  trap 'allow_services; rm -f "$log"' EXIT
  trap 'exit 1' HUP INT TERM
  forbid_services
  # The lists of a fresh machine are missing or old: fetched when an installation fails without.
  apt install -y --no-remove --no-install-recommends "$@" ||
    { apt update && apt install -y --no-remove --no-install-recommends "$@"; } ||
    die "apt-get could not install $*: $(grep -m 1 '^E: ' "$log" || tail -n 1 "$log")"
  allow_services
  rm -f "$log"
  trap - EXIT HUP INT TERM
}

digest() {
  find nvidia_runtime packaging/nvidia-ctk packaging/bin packaging/man packaging/systemd schemas pyproject.toml tests/pins.txt README.md LICENSE \
    -name __pycache__ -prune -o ! -type d -print | LC_ALL=C sort | xargs sha256sum | sha256sum
}

pip() {
  .venv/bin/python -m pip install -qq --disable-pip-version-check -c tests/pins.txt "$@" # -qq: errors only
}

install_tree() {
  now="$(readlink -f "$(interpreter)") $(digest)"
  [ "$(cat .venv/installed 2>/dev/null)" != "$now" ] || return 0
  "$(interpreter)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "Python 3.11 or newer is missing: $(interpreter) is $("$(interpreter)" --version)"
  echo "setup: pip install .[test] into .venv"
  rm -f .venv/installed
  { [ "$(readlink -f .venv/bin/python)" = "$(readlink -f "$(interpreter)")" ] &&
    .venv/bin/python -c 'import pip' 2>/dev/null; } || "$(interpreter)" -m venv --clear .venv
  # The build tool stays in .venv, so that the next installation needs no network.
  [ -x .venv/bin/hatchling ] || pip hatchling
  pip --no-build-isolation '.[test]'
  echo "$now" >.venv/installed
}

case $section in
  python) wanted=$python ;;
  run) wanted="$python $run" ;;
  test) wanted="$python $run $test $deb lintian=lintian" ;;
  long) wanted="$python $run $test $deb lintian=lintian $long $bundle" ;;
  deb) wanted=$deb ;;
  bundle) wanted="$python $bundle" ;;
  image) wanted="$python $bundle podman=podman git=git" ;;
  rpm) wanted='rpmbuild=rpm git=git' ;;
  *) die "setup.sh has no section $section" ;;
esac
# shellcheck disable=SC2086 # words
lacking=$(missing $wanted)
if [ "$section" = run ] || [ -n "$lacking" ]; then
  [ "$(id -u)" = 0 ] ||
    die "root is missing: device nodes and containers need it${lacking:+, and apt-get for $lacking}"
  command -v apt-get >/dev/null ||
    die "apt-get is missing${lacking:+, and with it $lacking}: on a system without it, install" \
      "runc and busybox, then run 'pip install .[test]' and 'python tests/demo.py'"
fi
# shellcheck disable=SC2086 # words
[ -z "$lacking" ] || install_packages $lacking
case $section in deb | rpm) ;; *) install_tree ;; esac
