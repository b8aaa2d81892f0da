"""Packages of the extras: what is said where one is absent."""

import pytest

from dynq_numba.arguments.extras import load


def test_an_absent_package_is_named_with_the_pip_line():
    with pytest.raises(ImportError, match=r"^the gate needs no_such_package: pip install 'dynq-numba\[gate\]'$"):
        load("no_such_package.metrics", "gate", "the gate")


def test_a_module_is_given():
    assert load("json", "gate", "the gate").dumps(1) == "1"
