"""Images of users, tried on this machine's engine before they are submitted as a sweep's."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator

import docker
import pytest

from cloud import image_check
from cloud.errors import CloudError
from localcloud.images import base_images

Build = Callable[[str], str]

TOOLS = """\
RUN for tool in aws curl python3; do printf '#!/bin/sh\\n' >/usr/local/bin/$tool; done; chmod +x /usr/local/bin/*
"""


@pytest.fixture(scope="module")
def build() -> Iterator[Build]:
    """Builds an image with some lines behind those that give it all that a sweep wants."""
    client = docker.from_env()
    runtime, made = base_images(client, print).runtime, []

    def build(lines: str) -> str:
        name = f"check-{uuid.uuid4().hex[:8]}:1"
        client.images.build(fileobj=io.BytesIO(f"FROM {runtime}\n{TOOLS}{lines}\n".encode()), tag=name, rm=True)
        made.append(name)
        return name

    yield build
    for name in made:
        client.images.remove(name, force=True)


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "USER nobody",
        'ENTRYPOINT ["/usr/bin/env"]',
        'RUN printf \'#!/bin/sh\\nexec "$@"\\n\' >/entry; chmod +x /entry\nENTRYPOINT ["/entry"]',
    ],
)
def test_an_image_that_runs_what_it_is_given_is_fit(build: Build, lines: str) -> None:
    image_check.check(build(lines))


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ('ENTRYPOINT ["/bin/bash", "-c"]', "its ENTRYPOINT /bin/bash -c does not run what it is given"),
        ('ENTRYPOINT ["/bin/echo", "training"]', "its ENTRYPOINT /bin/echo training does not run what it is given"),
        ('ENTRYPOINT ["/nosuch"]', "its ENTRYPOINT /nosuch does not run what it is given"),
        ("RUN rm /usr/local/bin/aws", "the image has no aws, which a sweep needs"),
        ("RUN rm /bin/bash /usr/bin/bash || true", "bash"),
    ],
)
def test_one_that_could_not_run_a_child_is_refused(build: Build, lines: str, why: str) -> None:
    with pytest.raises(CloudError) as error:
        image_check.check(build(lines))
    assert why in error.value.problem
    assert error.value.fix


def test_an_image_that_does_nothing_but_wait_is_refused(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_check, "SECONDS", 1)
    with pytest.raises(CloudError, match="does not run what it is given"):
        image_check.check(
            build("RUN printf '#!/bin/sh\\nsleep 1000\\n' >/entry; chmod +x /entry\nENTRYPOINT [\"/entry\"]")
        )


def test_of_an_image_that_is_not_here_nothing_is_known() -> None:
    image_check.check("registry.test/solver-cloud:nosuch")
