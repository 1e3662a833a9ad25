"""Many uploads at once: any number of items, a few at a time, their results as they land.

``bulk_upload`` is the way in. What it does is told where it is done, in this order: the items (_item), taken from an
iterable (_feed), put into lanes by origin (_lanes), read in batches (_loading), made into requests (_job), sent by
workers (_run), their results handed to the caller (_outlet).
"""

from ._concurrency import Concurrency
from ._digest import Digest, DigestMismatch
from ._item import Upload, UploadResult
from ._journal import JournalBusy, JournalError, JournalMismatch
from ._plan import Planned
from ._progress import BulkProgress
from ._rate import RateLimit
from ._report import Report
from ._sources import ManifestError, read_manifest, walk
from ._uploader import BulkUpload, bulk_upload

__all__ = [
    "BulkProgress",
    "BulkUpload",
    "Concurrency",
    "Digest",
    "DigestMismatch",
    "JournalBusy",
    "JournalError",
    "JournalMismatch",
    "ManifestError",
    "Planned",
    "RateLimit",
    "Report",
    "Upload",
    "UploadResult",
    "bulk_upload",
    "read_manifest",
    "walk",
]
