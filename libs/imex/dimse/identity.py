"""How this implementation names itself (PS3.7 D.3.3.2)."""

from typing import Final

IMPLEMENTATION_CLASS_UID: Final = "2.25.213927374834019652207149216093405718312"
IMPLEMENTATION_VERSION: Final = "IMEX_0_1"
