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
    "$home/env/bin/python" -m pip install -qq --disable-pip-version-check -r "$root/tests/feast_suite/requirements.txt"
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

# All that goes through an offline store. Left out is what needs more than this environment has: the tests that
# validate data with great_expectations, those of an S3 server in a container, and those of DynamoDB or BigQuery.
tests=(
    tests/integration/offline_store
    tests/integration/online_store/test_universal_e2e.py
    tests/integration/online_store/test_push_features_to_online_store.py
    tests/integration/registration/test_universal_odfv_feature_inference.py
    --deselect tests/integration/online_store/test_push_features_to_online_store.py::test_push_features_and_read_async
    --ignore tests/integration/offline_store/test_dqm_validation.py
    --ignore tests/integration/offline_store/test_s3_custom_endpoint.py
)

for store in ${FEAST_SUITE_STORES:-ours stock}; do
    # What fails is judged below.
    FEAST_SUITE_STORE=$store "$home/env/bin/python" -m pytest --integration -q -p no:cacheprovider \
        --durations=0 --junitxml "$home/$store.xml" "${tests[@]}" "$@" > "$home/$store.log" 2>&1 || true
    tail -1 "$home/$store.log"
done
"$home/env/bin/python" "$root/tests/feast_suite/compare.py" "$home"
