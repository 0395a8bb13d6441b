"""Reads a stated quantity as an exact number: money, percent, fractions, units, magnitudes.

A percent sign counts as a unit, like "dollars": 50%, 50 percent and 50 are one answer, and 0.5
is another. Taking 50% for 0.5 as well would make 50 equal 0.5, and votes are counted over
classes of equal answers. Units are dropped without conversion: 50 cents is not $0.50.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

# Bounds every integer that is ever built from a text: "1e999999999" stays a text.
_MAX_DIGITS = 60

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)"
_POWER_OF_TEN = r"10\s*\^\s*\{?\s*(?P<NAME>[+-]?\s*[0-9]{1,3})\s*\}?(?![0-9!^])"
_QUANTITY = re.compile(
    rf"""
    (?:(?:approximately|about|around|roughly|exactly|only|(?:a\s)?total\sof|\\approx|~)\s*)?
    (?:(?:USD|US|Rs\.?|EUR|GBP|INR)\s*(?=[0-9+-]))?
    (?P<sign>[+-]\s*)?
    (?:
        (?P<whole>{_DIGITS})\s*(?:\\frac\s*\{{\s*(?P<mixed_over>[0-9]+)\s*\}}\s*\{{\s*
            (?P<mixed_under>[0-9]+)\s*\}}|(?<=\s)(?P<plain_over>[0-9]+)\s*/\s*(?P<plain_under>[0-9]+))
      | \\frac\s*\{{\s*(?P<frac_sign>-?)\s*(?P<frac_over>{_DECIMAL})\s*\}}\s*
            \{{\s*(?P<frac_under>{_DECIMAL})\s*\}}
      | (?P<over>{_DECIMAL})\s*/\s*(?P<under>{_DECIMAL})
      | {_POWER_OF_TEN.replace("NAME", "pure_power")}
      | (?P<number>{_DECIMAL})(?:[eE](?P<exponent>[+-]?[0-9]{{1,3}})(?![0-9])
            |\s*(?:\\times|\\cdot|\*|x)\s*{_POWER_OF_TEN.replace("NAME", "power")})?
    )
    (?P<unit>.*)
    """,
    re.VERBOSE | re.DOTALL,
)

_MAGNITUDES = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_ATTACHED_UNIT = re.compile(
    r"(?:cm|mm|km|m|kg|mg|g|ml|mL|L|ft|in|lbs?|oz|mph|kph|min|mins|hrs?|hours?|secs?|s|h|gb|GB|MB|"
    r"st|nd|rd|th|dollars?|cents?)(?:\^\{?[23]\}?)?(?:/[a-z]+)?(?=\s|$)"
)
_UNIT_WORD = re.compile(
    r"\(?[A-Za-z]{2,}(?:'s?)?(?:\^\{?[23]\}?)?(?:[/-][A-Za-z]+(?:\^\{?[23]\}?)?)*\)?[.,]?"
    r"|m\^\{?[23]\}?|[mgL]/[smhgL](?:\^\{?[23]\}?)?"
)
_UNIT_LETTERS = frozenset("mgshLCFa/")
_MAX_UNIT_WORDS = 8
# Words after a number that make it something else than a quantity with a unit.
_NOT_UNITS = frozenset(
    (
        *("am", "pm", "and", "or", "to", "is", "not"),
        *("plus", "minus", "mod", "pi", "sqrt", "sin", "cos", "tan", "log", "ln"),
    )
)
# Words that change the number right before them: "5 squared" is 25, though "5 meters squared" is 5.
# Halves and quarters are things to count as often as they are parts: egg halves, coins.
_CHANGING_WORDS = frozenset(
    (
        *("squared", "cubed", "thirds", "fourths", "fifths", "sixths", "sevenths", "eighths"),
        *("ninths", "tenths", "hundredths", "thousandths"),
    )
)


@dataclass(frozen=True)
class Numeral:
    """An exact number and how to print it: as written, a fraction or a decimal."""

    value: Fraction
    is_fraction: bool = False

    def __str__(self) -> str:
        if self.is_fraction or self.value.denominator == 1:
            return str(self.value)
        places = 0
        while 10**places % self.value.denominator:
            places += 1
        scaled = str(abs(self.value.numerator) * 10**places // self.value.denominator)
        scaled = scaled.rjust(places + 1, "0")
        sign = "-" if self.value < 0 else ""
        return f"{sign}{scaled[:-places]}.{scaled[-places:]}"


def read_numeral(text: str) -> Numeral | None:
    """Read a text that `latex.plain_text` returned as one quantity; None when it is not one."""
    if sum(character.isdigit() for character in text) > _MAX_DIGITS:
        return None
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    magnitude = _unit_magnitude(match["unit"])
    if magnitude is None:
        return None
    try:
        value, is_fraction = _value(match)
    except ZeroDivisionError:
        return None
    if value is None:
        return None
    if match["sign"] and match["sign"].startswith("-"):
        value = -value
    return Numeral(value * magnitude, is_fraction)


def _value(match: re.Match[str]) -> tuple[Fraction | None, bool]:
    """Return the unsigned value and whether it was written as a fraction."""
    if match["whole"]:
        over = int(match["mixed_over"] or match["plain_over"])
        under = int(match["mixed_under"] or match["plain_under"])
        return _decimal(match["whole"]) + Fraction(over, under), True
    if match["frac_over"]:
        value = _decimal(match["frac_over"]) / _decimal(match["frac_under"])
        return (-value if match["frac_sign"] else value), True
    if match["over"]:
        return _decimal(match["over"]) / _decimal(match["under"]), True
    power_text = match["pure_power"] or match["power"] or match["exponent"] or "0"
    power = int(power_text.replace(" ", ""))
    if abs(power) > _MAX_DIGITS:
        return None, False
    return _decimal(match["number"] or "1") * Fraction(10) ** power, False


def _decimal(digits: str) -> Fraction:
    digits = digits.replace(",", "")
    return Fraction(f"0{digits}" if digits.startswith(".") else digits.rstrip("."))


def _unit_magnitude(unit: str) -> int | None:
    """Return the factor that the words after a number stand for; None when they are no unit."""
    attached = _ATTACHED_UNIT.match(unit)
    if attached:
        unit = unit[attached.end() :]
    elif unit.startswith("%"):
        unit = unit[1:]
    elif unit and not unit[0].isspace() and not re.match(r"/\s?[A-Za-z]{2,}", unit):
        return None
    words = unit.split()
    if len(words) > _MAX_UNIT_WORDS:
        return None
    if not attached and words and words[0].lower().strip("().,") in _CHANGING_WORDS:
        return None
    magnitude = 1
    if words and words[0].lower() in _MAGNITUDES:
        magnitude = _MAGNITUDES[words.pop(0).lower()]
    for position, word in enumerate(words):
        if (word == "%" and position == 0) or (word == "a" and position > 0):
            continue
        if word.lower().strip("().,") in _NOT_UNITS:
            return None
        if word not in _UNIT_LETTERS and not _UNIT_WORD.fullmatch(word.removeprefix("/")):
            return None
    return magnitude
