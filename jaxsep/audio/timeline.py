"""The place of decoded frames on a file's time line, and what is missing between them."""

from fractions import Fraction

# Shorter gaps are inexact time stamps, or the delay of a codec at the beginning.
_TOLERANCE = Fraction(15, 1000)
_COARSE_TOLERANCE = Fraction(50, 1000)  # where time stamps don't count samples
_START_TOLERANCE = Fraction(30, 1000)
_MOST_SILENCE = 3600  # seconds in all; beyond it, time stamps are taken for broken


class Timeline:
    """Says how much silence belongs before each frame, and where a file is damaged.

    Times are in seconds.

    Args:
      origin: Time stamp at which the file begins; None if it begins with its first sound.

    Attributes:
      position: Length of what was placed so far, silence included.
    """

    def __init__(self, origin: Fraction | None = None):
        self.position = Fraction(0)
        self._silence_left = Fraction(_MOST_SILENCE)
        self._places: list[Fraction] = []
        self._missing = Fraction(0)
        self._is_damaged = False
        self.begin_link(origin)

    def begin_link(self, origin: Fraction | None = None) -> None:
        """Lets time stamps begin anew at this position."""
        self._origin, self._start = origin, self.position
        self._due: Fraction | None = None  # when the next frame should begin, by time stamps

    def damage(self) -> None:
        """Takes note that something before the next frame can't be decoded."""
        self._is_damaged = True

    def place(self, time: Fraction | None, length: Fraction, is_exact: bool) -> Fraction:
        """Places sound at the end of what is there.

        Args:
          time: Time stamp of the sound's beginning, if it has one.
          length: Length of the sound.
          is_exact: Whether time stamps count single samples.

        Returns:
          The silence that belongs before it.
        """
        gap = Fraction(0)
        if time is not None:
            gap = self._gap(time, is_exact)
            self._due = time + length
        if self._is_damaged:
            self._places.append(self.position)
        self._is_damaged = False
        self.position += gap + length
        return gap

    def _gap(self, time: Fraction, is_exact: bool) -> Fraction:
        if self._origin is None:
            self._origin = time
        is_first = self._due is None
        due = self._origin if self._due is None else self._due
        gap = self._start + time - self._origin - self.position
        tolerance = _TOLERANCE if is_exact else _COARSE_TOLERANCE
        if min(gap, time - due) <= (_START_TOLERANCE if is_first else tolerance):
            return Fraction(0)
        self._is_damaged |= not is_first
        if gap > self._silence_left:
            self._is_damaged = True
            return Fraction(0)
        self._silence_left -= gap
        self._missing += gap if self._is_damaged else 0
        return gap

    def notes(self) -> list[str]:
        """Describes in one line what is damaged or missing, if anything."""
        if not self._places:
            return []
        more = len(self._places) - 1
        where = f"damaged or without sound at {float(self._places[0]):.2f} s"
        where += f" and {more:,} more place{'s' * (more > 1)}" if more else ""
        if not self._missing:
            return [f"{where}; what can't be decoded was skipped"]
        return [f"{where}; {float(self._missing):.2f} s of silence stand in for it"]
