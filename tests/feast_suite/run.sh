#!/usr/bin/env bash
# Feast's own universal tests against this project's offline store and, beside it, Feast's DuckDB store.
#
# FEAST_SOURCE       a checkout of Feast's source; its tests are not in the package. Needed.
# FEAST_SUITE_HOME   where the environment and the reports go; default data/build/feast-suite.
# FEAST_SUITE_STORES which stores; default "ours stock".
# Arguments go to pytest.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
home=${FEAST_SUITE_HOME:-$root/data/build/feast-suite}

if [ ! -d "${FEAST_SOURCE:-}/sdk/python/tests/universal" ]; then
    echo "error: no Feast source tree at FEAST_SOURCE='${FEAST_SOURCE:-}'." \
        "Set FEAST_SOURCE to a checkout of Feast (the folder that holds sdk/python/tests/universal)." >&2
    exit 2
fi

# The suite needs pytest < 8 and this project's tests a later one, so it has an environment of its own.
if [ ! -e "$home/env/installed" ]; then
    echo "Making the environment of the suite in $home/env"
    "${PYTHON:-python3.11}" -m venv "$home/env"
    "$home/env/bin/python" -m pip install --quiet --disable-pip-version-check -r "$root/tests/feast_suite/requirements.txt"
    touch "$home/env/installed"
fi

# Only the tests: the package beside them would hide the release that is installed.
rm -rf "$home/tree" "$home"/*.xml
mkdir -p "$home/tree"
cp -r "$FEAST_SOURCE/sdk/python/tests" "$FEAST_SOURCE/sdk/python/pytest.ini" "$home/tree/"
cp "$root/tests/feast_suite/repo_configuration.py" "$home/tree/tests/scalespace_repo_configuration.py"
cd "$home/tree"
export PYTHONPATH="$home/tree:$root" IS_TEST=True FEAST_IS_LOCAL_TEST=True FEAST_USAGE=False
export FULL_REPO_CONFIGS_MODULE=tests.scalespace_repo_configuration

for store in ${FEAST_SUITE_STORES:-ours stock}; do
    # What fails is judged below.
    # Left out: the module that validates data with great_expectations, which this environment has not.
    FEAST_SUITE_STORE=$store "$home/env/bin/python" -m pytest --integration -q -p no:cacheprovider \
        -m "universal_offline_stores" --durations=0 --junitxml "$home/$store.xml" \
        tests/integration/offline_store --ignore tests/integration/offline_store/test_dqm_validation.py "$@" > "$home/$store.log" 2>&1 || true
    tail -1 "$home/$store.log"
done
"$home/env/bin/python" "$root/tests/feast_suite/compare.py" "$home"
