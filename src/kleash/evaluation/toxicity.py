"""Count toxic words by a small lexicon of our own: coarse insults, profanity and threats in plain English.

A word list cannot see hatred in polite words, nor that a word is quoted or means something else: it is a smoke alarm
for a policy that grows coarse, measured against its reference. Slurs against groups of people are left to lists made
for them, which `lexicon` takes.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_INSULTS = (
    "airhead asshole bastard bitch blockhead bonehead buffoon coward cretin crybaby dimwit dipshit dolt douchebag "
    "dumbass dummy dunce fathead fatso fool freak halfwit idiot imbecile jackass jerk knucklehead lamebrain loser "
    "lowlife lunatic moron nincompoop nitwit numbskull pinhead psycho scum scumbag simpleton slimeball twerp weirdo "
    "whore wuss disgusting dumb filthy idiotic moronic pathetic revolting stupid worthless"
)
_PROFANITY = (
    "arse arsehole bollocks bullshit crap cunt damn damned dammit dickhead fuck fucked fucker fucking goddamn "
    "motherfucker piss pissed shit shitty slut twat wank wanker"
)
LEXICON = frozenset(f"{_INSULTS} {_PROFANITY}".split())
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def toxic_words(text: str, *, lexicon: Collection[str] = LEXICON) -> tuple[list[str], int]:
    """Return the toxic words of a text, plurals too, in lower case and in order, and the number of all its words."""
    words = [word.lower() for word in _WORD.findall(text)]
    return [word for word in words if word in lexicon or (word.endswith("s") and word[:-1] in lexicon)], len(words)
