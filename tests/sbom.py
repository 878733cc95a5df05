"""The bill of materials (CycloneDX) of a lock file and of what the page has vendored: ``python -m tests.sbom LOCK``.

It says nothing that the lock does not say, so the same lock gives the same bytes.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ITSELF = "revenant"
_PACKAGE = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?: ; ([^\\]+?))?(?: \\)?$")
_HASH = re.compile(r"^\s+--hash=sha256:([0-9a-f]{64})")
_VIA = re.compile(r"^\s+#\s+(?:via\s+)?(\S+)")
_NPM = re.compile(r"npm pack --silent (.+?) &&")
_VENDORED = {"htm": "preact.js", "lightweight-charts": "lightweight-charts.js"}


def bill(lock: Path) -> dict[str, Any]:
    """Return the bill of materials of a lock file, the page's libraries among it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    root = f"pkg:pypi/{ITSELF}@{version}"
    packages, wanted_by = _locked(lock.read_text())
    # one package may be locked in two versions, for older and newer Pythons
    refs: dict[str, set[str]] = {ITSELF: {root}}
    for component in packages:
        refs.setdefault(component["name"], set()).add(component["bom-ref"])
    pages = _vendored((ROOT / "Makefile").read_text(), (ROOT / "dashboard/page/vendor/SHA256SUMS").read_text())
    needs: dict[str, set[str]] = {ref: set() for held in refs.values() for ref in held}
    for name, parents in wanted_by.items():
        for ref in (ref for parent in parents for ref in refs[parent]):
            needs[ref] |= refs[name]
    needs[root] |= {one["bom-ref"] for one in pages}
    body = {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": root, "name": ITSELF, "version": version, "purl": root}},
        "components": [*packages, *pages],
        "dependencies": [{"ref": ref, "dependsOn": sorted(held)} for ref, held in sorted(needs.items())],
    }  # fmt: skip
    return {**body, "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body))}"}


def _locked(text: str) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Return a lock's packages, and by the name of each those that want it."""
    found: list[dict[str, Any]] = []
    wanted_by: dict[str, list[str]] = {}
    for line in text.splitlines():
        if package := _PACKAGE.match(line):
            name, version, marker = package.groups()
            ref = f"pkg:pypi/{name}@{version}"
            wanted_by[name] = []
            found.append({
                "type": "library", "bom-ref": ref, "name": name, "version": version, "purl": ref,
                # a package has a file for each platform; any of them may be the one that is installed
                "externalReferences": [
                    {"type": "distribution", "url": f"https://pypi.org/project/{name}/{version}/", "hashes": []}
                ],
                "properties": [{"name": "python:marker", "value": marker}] if marker else [],
            })  # fmt: skip
        elif digest := _HASH.match(line):
            found[-1]["externalReferences"][0]["hashes"].append({"alg": "SHA-256", "content": digest[1]})
        elif (via := _VIA.match(line)) and via[1] != "via":
            wanted_by[found[-1]["name"]].append(via[1])
    return found, wanted_by


def _vendored(makefile: str, sums: str) -> list[dict[str, Any]]:
    packed = _NPM.search(makefile)
    assert packed is not None, "the Makefile says which libraries are vendored"
    digests = {name: digest for digest, name in (line.split() for line in sums.splitlines())}
    made = []
    for one in packed[1].split():
        name, version = one.split("@")
        ref = f"pkg:npm/{name}@{version}"
        made.append({
            "type": "library", "bom-ref": ref, "name": name, "version": version, "purl": ref,
            "hashes": [{"alg": "SHA-256", "content": digests[_VENDORED[name]]}],
        })  # fmt: skip
    return made


if __name__ == "__main__":
    print(json.dumps(bill(ROOT / (sys.argv[1] if len(sys.argv) > 1 else "requirements.txt")), indent=1))
