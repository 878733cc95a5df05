"""The bill of materials names everything that is installed and served, and nothing else."""

from __future__ import annotations

import re

import pytest

from tests.sbom import ROOT, bill

LOCKS = ["requirements.txt", "requirements-scale.txt", "requirements-dev.txt"]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_the_lock_is_in_the_bill_with_every_hash(lock):
    text = (ROOT / lock).read_text()
    held = bill(ROOT / lock)
    python = {one["purl"]: one for one in held["components"] if one["purl"].startswith("pkg:pypi/")}
    assert set(python) == {f"pkg:pypi/{name}@{version}" for name, version in re.findall(r"(?m)^(\S+)==([^\s;]+)", text)}
    digests = [one["content"] for part in python.values() for one in part["externalReferences"][0]["hashes"]]
    assert sorted(digests) == sorted(re.findall(r"--hash=sha256:(\w+)", text))
    assert all(part["externalReferences"][0]["hashes"] for part in python.values())


def test_what_the_page_has_vendored_is_in_the_bill_too():
    sums = dict(reversed(line.split()) for line in (ROOT / "dashboard/page/vendor/SHA256SUMS").read_text().splitlines())
    named = [one for one in bill(ROOT / LOCKS[0])["components"] if one["purl"].startswith("pkg:npm/")]
    assert {one["hashes"][0]["content"] for one in named} == set(sums.values())


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_is_wanted_by_something_and_begins_with_the_program(lock):
    held = bill(ROOT / lock)
    needs = {one["ref"]: one["dependsOn"] for one in held["dependencies"]}
    reached, todo = set(), [held["metadata"]["component"]["bom-ref"]]
    while todo:
        ref = todo.pop()
        if ref not in reached:
            reached.add(ref)
            todo += needs.get(ref, [])
    assert reached - {held["metadata"]["component"]["bom-ref"]} == {one["bom-ref"] for one in held["components"]}


def test_the_same_lock_gives_the_same_bill():
    assert bill(ROOT / LOCKS[0]) == bill(ROOT / LOCKS[0])
