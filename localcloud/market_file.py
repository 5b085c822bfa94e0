"""The file that sets a scenario: YAML, checked line by line.

regions:
  us-east-1:
    quotas: {spot: 64, on-demand: 0}    # vCPUs; `spot-gpu` and `on-demand-gpu` are those of G and of P instances
    denied: [RunInstances]              # actions of EC2, Batch, the price list and Service Quotas
    spot_role: missing                  # nobody has made AWSServiceRoleForEC2Spot, and EC2 may not
    types:
      c7i.4xlarge:
        on_demand: 0.714                # dollars an hour
        capacity: enough                # in the zones that are not named; one of market.CAPACITIES
        zones:
          us-east-1a: {spot: 0.31, capacity: none}
          us-east-1b: spot-none         # short for {capacity: spot-none}
          us-east-1c: unsupported       # does not sell the type
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from . import catalog
from .errors import LocalCloudError
from .market import CAPACITIES, QUOTAS, Offer, Region, Sale, Scenario

Entries = dict[str, tuple[Node, Node]]
"""The keys of a mapping, each with its own node and its value's."""


def scenario(text: str, path: str) -> Scenario:
    """The scenario in the text of a file; raises LocalCloudError with the file and the line that is wrong."""
    try:
        return replace(parse(text), file=path)
    except LocalCloudError as error:
        raise LocalCloudError(f"{path}, {error.problem}", fix=error.fix) from None


def parse(text: str) -> Scenario:
    """The scenario in a text; raises LocalCloudError with the line that is wrong."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise LocalCloudError(f"line {line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise LocalCloudError(f"line 1: {error}") from None
    top = _entries(root, ("regions",)) if root else {}
    if "regions" not in top:
        raise LocalCloudError("line 1: there is no `regions`", fix="the form of it is in docs/local-cloud.md")
    regions = {}
    for name, (key, value) in _entries(top["regions"][1]).items():
        if name not in catalog.regions():
            raise _wrong(key, f"there is no region {name!r}", "for example: us-east-1")
        regions[name] = _region(name, value)
    return Scenario(regions)


def _region(name: str, node: Node) -> Region:
    entries = _entries(node, ("quotas", "denied", "spot_role", "types"))
    quotas = _entries(entries["quotas"][1], QUOTAS) if "quotas" in entries else {}
    types = _entries(entries["types"][1]) if "types" in entries else {}
    role = _word(entries["spot_role"][1], ("missing", "made")) if "spot_role" in entries else "made"
    return Region(
        quotas={quota: _vcpus(value) for quota, (_, value) in quotas.items()},
        denied=_denied(entries["denied"][1]) if "denied" in entries else frozenset(),
        makes_spot_role=role == "made",
        types={kind: _sale(name, kind, key, value) for kind, (key, value) in types.items()},
    )


def _denied(node: Node) -> frozenset[str]:
    if not isinstance(node, SequenceNode):
        raise _wrong(node, "`denied` is a list", "for example: denied: [RunInstances]")
    for one in node.value:
        if _text(one) not in _actions():
            raise _wrong(one, f"there is no action {_text(one)!r}", "for example: RunInstances")
    return frozenset(_text(one) for one in node.value)


@cache
def _actions() -> frozenset[str]:
    """The actions that can be denied here."""
    import botocore.session

    session = botocore.session.get_session()
    services = [session.get_service_model(name) for name in ("batch", "ec2", "pricing", "service-quotas")]
    return frozenset(action for service in services for action in service.operation_names)


def _sale(region: str, instance_type: str, key: Node, node: Node) -> Sale:
    sold = catalog.zones_offering(instance_type, region)
    if not sold:
        raise _wrong(key, f"{region} does not sell {instance_type!r}", "for example: c7i.4xlarge")
    entries = _entries(node, ("on_demand", "capacity", "zones"))
    capacity = _word(entries["capacity"][1], CAPACITIES) if "capacity" in entries else "enough"
    zones = {}
    for zone, (zone_key, value) in (_entries(entries["zones"][1]) if "zones" in entries else {}).items():
        if zone not in sold:
            raise _wrong(zone_key, f"{zone!r} does not sell {instance_type}", f"those that do: {', '.join(sold)}")
        zones[zone] = _offer(value, capacity)
    return Sale(
        on_demand=_dollars(entries["on_demand"][1]) if "on_demand" in entries else None,
        zones=zones,
        elsewhere=Offer(capacity=capacity),
    )


def _offer(node: Node, capacity: str) -> Offer:
    if isinstance(node, ScalarNode):
        word = _word(node, (*CAPACITIES, "unsupported"))
        return Offer(sold=False) if word == "unsupported" else Offer(capacity=word)
    entries = _entries(node, ("spot", "capacity"))
    return Offer(
        spot=_dollars(entries["spot"][1]) if "spot" in entries else None,
        capacity=_word(entries["capacity"][1], CAPACITIES) if "capacity" in entries else capacity,
    )


def _entries(node: Node, known: tuple[str, ...] = ()) -> Entries:
    """What a mapping has; known: the keys that it may have, where not any will do."""
    if not isinstance(node, MappingNode):
        raise _wrong(node, "here belongs a mapping", f"of {', '.join(known)}" if known else None)
    entries: Entries = {}
    for key, value in node.value:
        name = _text(key)
        if known and name not in known:
            raise _wrong(key, f"{name!r} is not known here", f"what is: {', '.join(known)}")
        if name in entries:
            raise _wrong(key, f"{name!r} stands here twice")
        entries[name] = (key, value)
    return entries


def _text(node: Node) -> str:
    if not isinstance(node, ScalarNode):
        raise _wrong(node, "here belongs one word")
    return str(node.value)


def _word(node: Node, words: tuple[str, ...]) -> str:
    if _text(node) not in words:
        raise _wrong(node, f"{_text(node)!r} is not known here", f"what is: {', '.join(words)}")
    return _text(node)


def _dollars(node: Node) -> float:
    try:
        dollars = float(_text(node))
    except ValueError:
        dollars = math.nan
    if not 0 < dollars < math.inf:
        raise _wrong(node, f"{_text(node)!r} is no price in dollars an hour")
    return dollars


def _vcpus(node: Node) -> int:
    if not _text(node).isdecimal():
        raise _wrong(node, f"{_text(node)!r} is no number of vCPUs")
    return int(_text(node))


def _wrong(node: Node, problem: str, fix: str | None = None) -> LocalCloudError:
    return LocalCloudError(f"line {node.start_mark.line + 1}: {problem}", fix=fix)
