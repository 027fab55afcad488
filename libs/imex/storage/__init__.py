"""The object store: a port, its S3 adapter, and the errors that both promise."""

from imex.storage.capacity import (
    Capacity,
    CapacitySource,
    DiskCapacity,
    ListedCapacity,
    MinioCapacity,
    Unmeasured,
)
from imex.storage.deletion import delete_all
from imex.storage.minio_store import MinioStore
from imex.storage.port import (
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    Stored,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    Upload,
)
from imex.storage.tuning import StoreTuning

__all__ = [
    "Capacity",
    "CapacitySource",
    "DiskCapacity",
    "ListedCapacity",
    "MinioCapacity",
    "MinioStore",
    "ObjectInfo",
    "ObjectNotFound",
    "ObjectStore",
    "StoreError",
    "StoreFull",
    "StoreRefused",
    "StoreTuning",
    "StoreUnavailable",
    "Stored",
    "Unmeasured",
    "Upload",
    "delete_all",
]
