"""What every command has in common."""

from __future__ import annotations

import gc
from pathlib import Path

import invoke
import pytest

from cloud.aws import Aws
from cloud.commands import command
from cloud.errors import CloudError


@pytest.mark.parametrize("fails", [False, True])
def test_the_search_for_garbage_is_seldom_during_a_command_and_as_before_after_it(fails: bool, home: Path) -> None:
    before = gc.get_threshold()
    during = []

    @command()
    def one(aws: Aws) -> None:
        during.append(gc.get_threshold()[0])
        if fails:
            raise ValueError

    try:
        one(invoke.Context())
    except CloudError:
        assert fails
    assert during[0] > before[0]
    assert gc.get_threshold() == before
