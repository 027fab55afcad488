"""Keeping pydicom's words out of logs: they quote values."""

import logging
import warnings
from functools import cache

from pydicom import config


@cache
def be_quiet() -> None:
    """Neither check values nor warn, for the whole process."""
    config.settings.reading_validation_mode = config.IGNORE
    config.settings.writing_validation_mode = config.IGNORE
    logging.getLogger("pydicom").disabled = True
    warnings.filterwarnings("ignore", module="pydicom")
