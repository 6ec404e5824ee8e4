"""Every error a user can meet. Each message says what happened and what to do about it."""


class ClapError(Exception):
    """Base of all errors of m2d-clap; commands print it and end with status 1."""


class AudioError(ClapError):
    """A sound that cannot be used."""


class NotAudioError(AudioError):
    """The bytes hold nothing that can be decoded as sound."""


class AudioTooLongError(AudioError):
    """More seconds of sound than the caller allowed."""


class BadSamplesError(AudioError):
    """Decodable, but meaningless: NaN samples, an absurd sample rate or too many channels."""


class CheckpointError(ClapError):
    """A checkpoint folder that is missing, damaged, too new, or does not fit its own description."""


class UpstreamError(ClapError):
    """A published weight file that is not understood; the message names what stood in the way."""


class TextEncoderError(ClapError):
    """A text encoder that is needed and cannot be found; the message lists where it was sought."""


class CaptionError(ClapError):
    """A way to make captions that cannot be."""


class NoCaptionerError(ClapError):
    """The checkpoint has no captioner."""
