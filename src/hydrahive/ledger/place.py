"""Where a ledger may lie: on a disk of this machine, because SQLite's locks are not to be trusted over a network."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hydrahive.core.errors import LedgerError

ON_A_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "ocfs2"}
ON_A_NETWORK |= {"gfs2", "moosefs", "orangefs", "pvfs2", "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph"}
ON_A_NETWORK |= {"fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.mount-s3", "fuse.juicefs", "fuse.davfs2"}
ON_A_NETWORK |= {"fuse.blobfuse2", "fuse.goofys", "fuse.smbnetfs"}
"""Names of filesystems, as Linux lists them, whose files lie on other machines."""

MOUNTS = Path("/proc/self/mountinfo")


def require_local(path: Path, mounts: Path | None = None) -> None:
    """Refuse a ledger that would lie on a network filesystem.

    Args:
        path: The ledger's file, which need not exist yet.
        mounts: Linux' list of what is mounted where (proc(5), mountinfo); on systems without it nothing is refused.

    Raises:
        LedgerError: If so; says which filesystem, and what to do.
    """
    assert path.is_absolute(), "a ledger is known by its whole path"
    mounts = mounts or MOUNTS
    if not mounts.is_file():
        return
    kind, mounted_at = filesystem_of(path, mounts.read_text("utf-8"))
    assert mounted_at.startswith("/"), "something is mounted at the root"
    if kind in ON_A_NETWORK:
        raise LedgerError(
            f"ledger {path}: lies on a network filesystem ({kind} at {mounted_at}), where it could be damaged; "
            "give a local path in ledger.path, --ledger or HYDRAHIVE_LEDGER"
        )


def filesystem_of(path: Path, mountinfo: str) -> tuple[str, str]:
    """The kind of filesystem that `path` lies on, and where that is mounted, by the text of a mountinfo file."""
    assert path.is_absolute(), "mounts are at whole paths"
    real = os.path.realpath(path)
    found = ("", "/")
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        mounted_at = re.sub(r"\\(\d{3})", lambda code: chr(int(code.group(1), 8)), fields[4])
        inside = real == mounted_at or real.startswith(mounted_at.rstrip("/") + "/")
        if inside and len(mounted_at) >= len(found[1]):  # a later mount at the same place hides the earlier one
            found = after.split()[0], mounted_at
    assert real.startswith(found[1]), "a path lies below its mount"
    return found
