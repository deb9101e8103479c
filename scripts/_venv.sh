# Sourced by the scripts beside it: makes .venv if there is none, installs what is asked for, and leaves
# its Python in $PYTHON. A stamp of pyproject.toml tells whether the installation is still right.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
VENV=.venv
PYTHON="$PWD/$VENV/bin/python"

find_python() {
    for candidate in python3.12 python3.11 python3.10 python3; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "aecodec needs Python 3.10, 3.11 or 3.12, and none was found" >&2
    return 1
}

# ensure_venv EXTRAS: an editable installation with the given extras ("" for the base).
ensure_venv() {
    local extras="$1" stamp
    stamp="$VENV/.aecodec-$(printf '%s' "$extras" | tr ',' '-')-$(cksum <pyproject.toml | cut -d' ' -f1)"
    if [ -x "$PYTHON" ] && [ -e "$stamp" ]; then
        return
    fi
    if [ ! -x "$PYTHON" ]; then
        local base
        base="$(find_python)"
        echo "making $VENV with $base" >&2
        "$base" -m venv "$VENV"
    fi
    echo "installing aecodec${extras:+[$extras]} (the first time takes some minutes)" >&2
    "$PYTHON" -m pip install --quiet --disable-pip-version-check -e ".${extras:+[$extras]}" >&2
    touch "$stamp"
}
