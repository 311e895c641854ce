"""What every refusal owes: one kind of error, one line, words that name cause and remedy."""

from __future__ import annotations

import re

import pytest

from reparam.errors import InputError


def refuses(words):
    """A block that is refused in one line with these words."""
    return pytest.raises(InputError, match=f"^[^\n]*{re.escape(words)}[^\n]*$")


def refused(call, *words, kinds=(InputError,)):
    """The one line with which the call refuses."""
    with pytest.raises(kinds) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    for word in words:
        assert word in text, text
    return text


def taken_or_refused(call):
    """What the call gives, or None where it refuses in one line; any other error goes on."""
    try:
        return call()
    except (InputError, TypeError) as error:
        line = str(error)
    assert "\n" not in line
    return None
