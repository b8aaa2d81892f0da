#!/bin/bash
# The pages of reports in a real browser: brings Debian's Chromium and the package playwright, which drives it.
#
#   bash tests/programs/browser.sh [ARGUMENTS OF PYTEST]
#
# As root, on Debian; after `make test-all`, which makes the environment.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v chromium > /dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends chromium; }
.venv/bin/python -c "import playwright" 2> /dev/null \
    || .venv/bin/python -m pip install -q --disable-pip-version-check playwright
DYNQ_TEST_EXTRAS=required .venv/bin/python -m pytest tests/report "$@"
