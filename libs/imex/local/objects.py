"""Which object store a local stack has: MinIO, or SeaweedFS where MinIO can neither be found nor built."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence

from imex.local import minio, seaweedfs
from imex.local.cache import cache_dir
from imex.local.home import Home
from imex.local.process import Launch

CHOICE = "IMEX_OBJECT_STORE"
"""`minio` or `seaweedfs` to choose; without it the first that can be had."""


def uses_seaweedfs(home: Home) -> bool:
    """Whether this home has SeaweedFS. A home keeps the store that its objects are in."""
    if (home.data / "seaweedfs").exists():
        return True
    if (home.data / "minio").exists():
        return False
    chosen = os.environ.get(CHOICE, "")
    return chosen == "seaweedfs" if chosen else not _minio_can_be_had()


def _minio_can_be_had() -> bool:
    in_cache = (cache_dir() / "bin" / "minio").exists()
    return in_cache or shutil.which("minio") is not None or minio.go() is not None


def fetch(home: Home) -> None:
    """Have the program; says so when it is not MinIO. Raises `PartUnavailable`."""
    if not uses_seaweedfs(home):
        minio.binary()
        return
    if os.environ.get(CHOICE, "") != "seaweedfs":
        print("  MinIO is not here and there is no Go to build it: using SeaweedFS", file=sys.stderr)
    seaweedfs.binary()


def prepare(home: Home, grants: Mapping[str, Sequence[str]]) -> Launch:
    """How to start it. `grants` are for SeaweedFS, by user; MinIO's policies are made by `imex setup`."""
    at, users = home.ports(), home.secrets().s3
    if uses_seaweedfs(home):
        inner = {name: at[f"weed_{name}"] for name in seaweedfs.PORTS}
        config = seaweedfs.SeaweedConfig(
            home.data / "seaweedfs", home.log("seaweedfs"), at["minio"], inner, users, grants
        )
        return seaweedfs.prepare(config)
    root = users["root"]
    return minio.prepare(
        minio.MinioConfig(
            home.data / "minio", home.log("minio"), at["minio"], root.access_key, root.secret_key
        )
    )
