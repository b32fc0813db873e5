"""What sort of layer a class is, by its name: it decides the colour of a box."""

from __future__ import annotations

# The first entry with a word that the lower-case class or function name contains decides: "ZeroPadding2D"
# contains "add", so "pad" stands before it.
_WORDS: tuple[tuple[str, str], ...] = (
    ("input", "inputlayer placeholder"),
    ("attention", "attention transformer"),
    ("recurrent", "lstm gru rnn recurrent bidirectional"),
    ("normalization", "norm rescal"),
    ("regularization", "drop noise regulariz"),
    ("embedding", "embed lookup hashing encoding"),
    ("pooling", "pool"),
    ("convolution", "conv"),
    (
        "shape",
        "pad crop reshape flatten permut repeat upsampl resiz view transpose squeeze split chunk stack",
    ),
    ("shape", "getitem slice interpolate expand unbind"),
    ("merge", "concat add subtract multiply average maximum minimum matmul dot cat einsum"),
    ("activation", "relu elu gelu silu swish mish softmax softmin softplus softsign activation sigmoid tanh"),
    ("activation", "shrink threshold glu"),
    ("dense", "dense linear"),
)

# Operators of PyTorch, whose names are parts of too many others.
_OPERATORS = {"mul": "merge", "sub": "merge", "div": "merge", "truediv": "merge"}

KINDS = (*dict.fromkeys(kind for kind, _ in _WORDS), "model", "other")


def kind_of(type_name: str) -> str:
    """Return the sort of a layer, one of ``KINDS``.

    >>> kind_of("SeparableConv2D"), kind_of("BatchNormalization"), kind_of("MyLayer")
    ('convolution', 'normalization', 'other')
    """
    name = type_name.lower().replace("_", "")
    if name in _OPERATORS:
        return _OPERATORS[name]
    for kind, words in _WORDS:
        if any(word in name for word in words.split()):
            return kind
    return "other"
