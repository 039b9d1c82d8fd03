# Sourced by ./demo and ./check from the root of the tree: makes ready what they need.
# `prepare GROUP` installs missing system packages (images/packages.txt), finds or installs
# Rust, makes .venv and builds the package into it. What is there already is left alone,
# so a second call takes a moment.

# Nothing here asks questions; whoever started us may have closed standard input.
exec </dev/null
set -eu

RUST_WANTED=1.85
PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
export PATH
# Hundreds of daemons are started, also in guests that see this tree: none shall compile it anew.
unset PYTHONDONTWRITEBYTECODE

step() { printf '== %s\n' "$*" >&2; }

stop() { # message, hint
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

prepare() { # group
    require_host
    install_packages "$1"
    install_rust "$1"
    make_venv "$1"
}

require_host() {
    command -v apt-get >/dev/null || stop 'there is no apt-get' \
        'this works on Debian 12 and 13; elsewhere see docs/rig.md'
    [ "$(dpkg --print-architecture)" = amd64 ] || stop \
        "the architecture is $(dpkg --print-architecture)" 'the guest and its QEMU are amd64'
    command -v python3 >/dev/null || stop 'there is no python3' 'apt-get install python3'
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || stop \
        "$(python3 --version) is too old" 'Python 3.11 or newer is needed'
}

listed() { # group...
    for group; do
        while read -r its_group package; do
            [ "$its_group" != "$group" ] || printf '%s\n' "$package"
        done <images/packages.txt
    done
}

missing() { # package...
    for package; do
        [ "$(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            printf '%s ' "$package"
    done
}

as_root() { # command...
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    elif command -v sudo >/dev/null && [ -t 2 ]; then
        sudo "$@"
    else
        stop "root is needed for: $*" 'run it as root once, or let sudo work, then start again'
    fi
}

install() { # package...
    step "installing $*"
    get install "$@" || from_backports "$@"
}

get() { # apt-get arguments...
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-remove \
        --no-install-recommends "$@"
}

# Where something of Debian's backports is installed, its release's own packages may not go
# beside it (qemu-utils 10 and qemu-system-x86 7.2). Backports are asked then, for this once:
# the host's own list of sources stays as it is.
from_backports() { # package...
    dpkg-query -Wf '${Version}\n' | grep -q '~bpo' || return 1
    release=$(. /etc/os-release && printf %s "$VERSION_CODENAME")
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Codename: $release")
    step "asking $release-backports, of which something is installed here"
    ours=$(mktemp -d)
    mkdir -p "$ours/parts" "$ours/lists/partial"
    cp -R /etc/apt/sources.list.d/. "$ours/parts"
    printf 'deb [signed-by=%s] %s %s-backports main\n' \
        /usr/share/keyrings/debian-archive-keyring.gpg \
        "$(printf '%s\n' "$mirror" | head -n 1)" "$release" >"$ours/parts/backports.list"
    chmod -R go+rX "$ours"
    status=0
    as_root apt-get -q $(sources_in "$ours") update &&
        get $(sources_in "$ours") -t "$release-backports" install "$@" || status=$?
    as_root rm -rf "$ours"
    return "$status"
}

sources_in() { # folder
    printf '%s ' -o "Dir::Etc::sourceparts=$1/parts" -o "Dir::State::lists=$1/lists"
}

refresh_lists() {
    [ -z "${lists_are_fresh:-}" ] || return 0
    step 'reading package lists'
    as_root apt-get -q update
    lists_are_fresh=yes
}

install_packages() { # group
    case $1 in
        check) set -- demo check ;;
    esac
    wanted=$(missing $(listed "$@"))
    [ -n "$wanted" ] || return 0
    refresh_lists
    install $wanted
}

has_rust() {
    command -v cargo >/dev/null && command -v rustc >/dev/null || return 1
    dpkg --compare-versions "$(cargo --version | cut -d' ' -f2)" ge "$RUST_WANTED"
}

has_rust_lint() {
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1
}

candidate() { # package
    apt-cache policy "$1" | sed -n 's/^ *Candidate: //p'
}

install_rust() { # group
    suffix=
    [ "$1" != check ] || suffix=-lint
    if has_rust; then
        [ -z "$suffix" ] || has_rust_lint || install_rust_packages "" "$suffix"
        return 0
    fi
    install_rust_packages rust "$suffix"
    has_rust || stop "cargo is $(cargo --version 2>&1)" \
        "put a cargo >= $RUST_WANTED first in PATH, for example rustup's"
}

install_rust_packages() { # base or nothing, suffix
    refresh_lists
    kind=rust
    # dpkg takes "(none)" for an old version, which is the right answer here.
    dpkg --compare-versions "$(candidate cargo)" ge "$RUST_WANTED" 2>/dev/null || kind=rust-web
    set -- ${1:+$(listed "$kind")} ${2:+$(listed "$kind$2")}
    install "$@" || stop "apt-get cannot install $* beside what is installed" \
        "nothing was removed; remove Debian's rustc yourself, or use rustup (https://rustup.rs)"
}

make_venv() { # group
    if ! .venv/bin/python -c '' 2>/dev/null; then
        step 'making .venv'
        python3 -m venv --clear .venv
    fi
    stamp=.venv/prepared-$1
    inputs=$(source_digest)
    # What `check` installs has all that `demo` needs.
    for done in "$stamp" .venv/prepared-check; do
        [ "$(cat "$done" 2>/dev/null)" != "$inputs" ] || return 0
    done
    extra=$1
    [ "$extra" != check ] || extra=dev
    step "building and installing the package into .venv (the first time takes a few minutes)"
    # What was tested together; pyproject.toml has the floors.
    PIP_CONSTRAINT=$PWD/constraints.txt
    export PIP_CONSTRAINT
    .venv/bin/python -m pip install --disable-pip-version-check 'maturin>=1.7,<2'
    VIRTUAL_ENV=$PWD/.venv .venv/bin/maturin develop --release --extras "$extra"
    printf '%s\n' "$inputs" >"$stamp"
}

source_digest() {
    {
        .venv/bin/python --version
        cargo --version
        find engine pyproject.toml constraints.txt -name target -prune -o -type f -print | LC_ALL=C sort |
            xargs sha256sum
    } | sha256sum
}
