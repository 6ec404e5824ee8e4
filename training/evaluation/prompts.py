"""Class label → the sentence that stands for it in zero-shot classification.

Evaluation protocol, zero-shot: one prompt a class (arXiv 2406.02032, 2503.22104).
"""

_CREMA_D = {
    ("ang", "anger", "angry"): "angry person talking",
    ("dis", "disgust"): "someone talking in disgust",
    ("fea", "fear"): "someone talking with a sense of fear",
    ("hap", "happy", "happiness"): "someone talking happily and joyfully",
    ("neu", "neutral"): "someone talking calmly",
    ("sad", "sadness"): "someone talking sadly",
}
_CREMA_D_PHRASES = {word: phrase for words, phrase in _CREMA_D.items() for word in words}


def heard(label: str) -> str:
    """ "dog_bark" → "dog bark can be heard"."""
    return label.replace("_", " ") + " can be heard"


def genre(label: str) -> str:
    """GTZAN: "blues" → "blues music can be heard"."""
    return heard(label + " music")


def instrument(label: str) -> str:
    """NSynth: "bass" → "the musical instrument sound of bass can be heard"."""
    return heard("the musical instrument sound of " + label)


def emotion(label: str) -> str:
    """CREMA-D: "ANG" or "anger" → "angry person talking can be heard"; other labels as they are."""
    return heard(_CREMA_D_PHRASES.get(label.lower(), label))
