"""Old names under other names: what is not rewritten is said."""

import pytest

from befit.migrate import migrate_source

LEFT = {
    "import tensorflow as tf\nk = tf.keras\nk.utils.to_categorical(y=[1])\n": (
        2,
        "k is another name for tensorflow.keras",
    ),
    "import keras\nu = keras.utils\nu.HDF5Matrix('a', 'b')\n": (2, "u is another name for keras.utils"),
    "import keras\nu = keras.utils\nu.np_utils.normalize([1])\n": (2, "u is another name for keras.utils"),
    "from keras.utils import to_categorical\ntc = to_categorical\ntc([1], nb_classes=3)\n": (
        2,
        "keras.utils.to_categorical is passed on, and nb_classes= is num_classes= today",
    ),
    "import functools, keras\nfunctools.partial(keras.utils.to_categorical, nb_classes=3)\n": (
        2,
        "keras.utils.to_categorical is passed on, and nb_classes= is num_classes= today",
    ),
}

FINE = [
    "import tensorflow as tf\nkeras = tf.keras\nkeras.layers.Dense(3)\n",
    "import keras\nu = keras.utils\nu.set_random_seed(0)\n",
    "from keras.utils import to_categorical\nlist(map(to_categorical, [[1], [2]]))\n",
    "from keras.utils import get_file\nfetch = get_file\nfetch('a', 'b', md5_hash='c')\n",
    "from keras.utils import to_categorical\nto_categorical([1], nb_classes=3)\n",
]


@pytest.mark.parametrize("text", LEFT)
def test_what_is_used_under_another_name_is_remarked(text):
    line, what = LEFT[text]
    (remark,) = migrate_source(text).remarks
    assert (remark.line, remark.what) == (line, what)
    assert remark.instead.startswith("write ")


@pytest.mark.parametrize("text", FINE)
def test_other_names_are_no_matter_where_nothing_old_is_used(text):
    assert not migrate_source(text).remarks
