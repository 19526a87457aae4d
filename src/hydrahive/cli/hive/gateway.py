"""`hydrahive gateway`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hydrahive.cli.arguments import command_parser, positive
from hydrahive.core.errors import UsageError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def run(arguments: Sequence[str]) -> int:
    """Let volunteers work for a cluster's runs over HTTPS, until told to stop."""
    parser = command_parser("gateway", "Let volunteers work for this cluster's runs over HTTPS, until Ctrl-C.")
    parser.add_argument("--address", help="the Ray cluster (default: $RAY_ADDRESS)")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1)")
    parser.add_argument("--port", type=positive, default=8443, help="default: 8443")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="TLS certificate, with its chain, as PEM")
    parser.add_argument("--certificate-key", type=Path, metavar="FILE", help="its private key, as PEM")
    parser.add_argument(
        "--plain", action="store_true", help="HTTP without TLS on any host: something before it speaks TLS"
    )
    given = parser.parse_args(arguments)
    tls = _tls(given.certificate, given.certificate_key)
    if tls is None and not given.plain and given.host not in LOOPBACK:
        text = "volunteers show keys there: give --certificate and --certificate-key, or --plain behind what speaks TLS"
        raise UsageError(f"--host: {given.host!r} is not this machine alone, and {text}")

    from hydrahive.core.interrupts import Interrupted
    from hydrahive.serving.gateway.running import run_gateway

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        run_gateway(given.address, (given.host, given.port), tls, say)
    except Interrupted as interrupted:
        return interrupted.exit_code
    return 0


def _tls(certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    """Both files, of which neither comes alone.

    Raises:
        UsageError: If one is missing, or cannot be read.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise UsageError("--certificate and --certificate-key belong together: one of them is missing")
    for name, path in (("--certificate", certificate), ("--certificate-key", key)):
        try:
            text = path.read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{name}: {path} cannot be read: {error}") from None
        if "-----BEGIN" not in text:
            raise UsageError(f"{name}: {path} is not PEM")
    return certificate, key
