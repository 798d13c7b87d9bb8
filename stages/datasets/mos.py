"""The map between a data set's own scale of MOS and 0-100, in both directions."""

from typing import NamedTuple


class MosScale(NamedTuple):
    """A data set's own scale of MOS.

    Attributes:
        low: Lowest possible MOS.
        high: Highest possible MOS.
    """

    low: float
    high: float

    def to_100(self, mos_raw: float) -> float:
        """A MOS on the data set's own scale, mapped to 0-100."""
        return 100 * (mos_raw - self.low) / (self.high - self.low)

    def to_raw(self, mos: float) -> float:
        """A MOS or a score on 0-100, mapped to the data set's own scale."""
        return self.low + mos / 100 * (self.high - self.low)
