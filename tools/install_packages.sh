#!/bin/sh
# Install packages into a virtual environment, which is made where there is none:
#   install_packages.sh PYTHON ENVIRONMENT ARGUMENTS-OF-PIP...
# By uv where it is there, several times as quick as pip; else by a pip that Python has outside the environment, whose own
# is then one more package: that takes seconds less than putting one in at first. None of them compiles the 25,000 modules
# beforehand, which would take more than half a minute: Python does that with those that are imported.
set -eu
python=$1 environment=$2
shift 2
inside=$environment/bin/python
bare=--without-pip
if command -v uv >/dev/null; then
    set -- uv pip install --quiet --python "$inside" pip "$@"
elif "$python" -m pip --help 2>/dev/null | grep -q -e '--python <'; then
    set -- "$python" -m pip --python "$inside" install --quiet --disable-pip-version-check --no-compile pip "$@"
else
    bare=
    set -- "$inside" -m pip install --quiet --disable-pip-version-check --no-compile "$@"
fi
[ -x "$inside" ] || "$python" -m venv $bare "$environment"
exec "$@"
