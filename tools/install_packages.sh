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
if command -v uv >/dev/null; then
    installer="uv pip install --quiet --python $inside pip"
elif "$python" -m pip --help 2>/dev/null | grep -q -e '--python <'; then
    installer="$python -m pip --python $inside install --quiet --disable-pip-version-check --no-compile pip"
else
    installer="$inside -m pip install --quiet --disable-pip-version-check --no-compile"
fi
if [ ! -x "$inside" ]; then
    case $installer in
        *" pip") "$python" -m venv --without-pip "$environment" ;;
        *) "$python" -m venv "$environment" ;;
    esac
fi
exec $installer "$@"
