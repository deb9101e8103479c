# Sourced by the scripts beside it: makes .venv if there is none, installs what is asked for, and leaves
# its Python in $PYTHON. Stamps in .venv tell whether the installation is still right.
CDPATH="" cd "$(dirname "${BASH_SOURCE[0]}")/.."
VENV="${VENV:-.venv}"
PYTHON="$PWD/$VENV/bin/python"

# Those that every extra exists for come first.
find_python() {
    local candidate
    for candidate in python3.12 python3.11 python3.10 python3.13 python3.14 python3; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "aecodec needs Python 3.10, 3.11, 3.12, 3.13 or 3.14, and none was found" >&2
    return 1
}

# ensure_venv EXTRAS: an editable installation with the given extras ("" for the base).
ensure_venv() {
    local extras="$1" state base stamp
    # What pip was told: this folder and its pyproject.toml. Stamps of another state are void.
    state="$({ pwd && cat pyproject.toml; } | cksum | cut -d' ' -f1)"
    if [ -x "$PYTHON" ]; then
        for stamp in "$VENV/.aecodec-$state-$extras" "$VENV/.aecodec-$state-all"; do
            if [ -e "$stamp" ]; then
                return
            fi
        done
    else
        base="$(find_python)"
        echo "making $VENV with $base" >&2
        "$base" -m venv --clear "$VENV"
    fi
    find "$VENV" -maxdepth 1 -name '.aecodec-*' ! -name ".aecodec-$state-*" -delete
    echo "installing aecodec${extras:+[$extras]} (the first time takes some minutes)" >&2
    "$PYTHON" -m pip install --quiet --disable-pip-version-check -e ".${extras:+[$extras]}" >&2
    touch "$VENV/.aecodec-$state-$extras"
}
