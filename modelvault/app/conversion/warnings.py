"""Where quantisation is known to cost: what to tell the user before the result is used."""

import re
from collections.abc import Mapping, Sequence

from modelvault.core.artifact import Artifact

_FEW_BITS = re.compile(r"I?Q[123]_")
_FOUR_BITS = re.compile(r"I?Q4_")
_ENGLISH = ("en", "eng", "english")
_NAMES = {
    "ko": "Korean",
    "ja": "Japanese",
    "zh": "Chinese",
    "ar": "Arabic",
    "hi": "Hindi",
    "th": "Thai",
    "vi": "Vietnamese",
    "ru": "Russian",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
}
_SHOWN = 3


def quality_warnings(model: Artifact, types: Sequence[str]) -> list[str]:
    """Return what is known to suffer when ``model`` is stored as ``types``.

    Args:
        model: The source; its card says which languages it was made for.
        types: Types in the field's spelling: ``Q4_K_M`` …
    """
    return card_warnings(model.card, types)


def card_warnings(card: Mapping[str, str], types: Sequence[str]) -> list[str]:
    """Return what is known to suffer when the model of a card is stored as ``types``.

    Args:
        card: Its fields; ``language`` says which languages it was made for.
        types: Types in the field's spelling: ``Q4_K_M`` …
    """
    few = [type_ for type_ in types if _FEW_BITS.match(type_)]
    four = [type_ for type_ in types if _FOUR_BITS.match(type_)]
    languages = other_languages(card.get("language", ""))
    warnings = []
    if few:
        warnings.append(
            f"{', '.join(few)}: with fewer than four bits a weight answers become noticeably "
            "worse, small models most of all; Q4_K_M is the usual floor"
        )
    if languages and (few or four):
        more = " and others" if len(languages) > _SHOWN else ""
        warnings.append(
            f"{', '.join([*four, *few])}: the model is made for {', '.join(languages[:_SHOWN])}"
            f"{more} too; text other than English loses most at four bits and below, because "
            "its tokens are rarer, shorter and least seen in training: take Q5_K_M"
        )
    return warnings


def other_languages(card: str) -> list[str]:
    """Return the languages of a card's ``language`` field other than English, by name."""
    codes = re.findall(r"[a-z]{2,}", card.lower())
    return [_NAMES.get(code, code) for code in dict.fromkeys(codes) if code not in _ENGLISH]
