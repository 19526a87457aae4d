"""The script that begins each worker process of an embedded Ray; it imports neither Ray nor anything of ours.

Ray's own imports all of Ray, reads what environment the job wants of its processes, and then begins Python anew, which
imports all of Ray again. Where the job wants none, nothing is lost by beginning the worker at once.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import runpy
import sys
from pathlib import Path

NO_ENVIRONMENT = (None, "", "{}")


def main() -> None:
    """Become the worker, or what Ray would have made of it."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--serialized-runtime-env-context")
    parser.add_argument("--language")
    given, worker = parser.parse_known_args()
    if given.serialized_runtime_env_context in NO_ENVIRONMENT and given.language == "PYTHON":
        os.execv(sys.executable, [sys.executable, *worker])
    found = importlib.util.find_spec("ray")
    assert found is not None, "Ray has begun this"
    assert found.origin is not None, "Ray is no namespace"
    runpy.run_path(str(Path(found.origin).parent / "_private" / "workers" / "setup_worker.py"), run_name="__main__")


if __name__ == "__main__":
    main()
