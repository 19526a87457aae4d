"""Pip's report of what it would install as requirements with hashes; `make lock` calls it."""

import json
import sys

NOT_HERE = ("hydrahive", "torch")
"""The project itself; and torch, whose build depends on where it comes from."""


def main() -> None:
    """Read the report from standard input and write the lock to standard output."""
    print("# What the image holds besides torch, by hash: Linux on x86_64, Python 3.11. `make lock` writes it.")
    rows = []
    for one in json.load(sys.stdin)["install"]:
        name, version = one["metadata"]["name"], one["metadata"]["version"]
        if name not in NOT_HERE:
            sha256 = one["download_info"]["archive_info"]["hashes"]["sha256"]
            rows.append(f"{name.lower()}=={version} --hash=sha256:{sha256}")
    print("\n".join(sorted(rows)))


if __name__ == "__main__":
    main()
