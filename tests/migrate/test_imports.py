"""Imports and uses of the names of keras.utils."""

from __future__ import annotations

import pytest

from befit.legacy.names import MODULES, NAMES, ROOTS
from befit.migrate import migrate_source
from befit.migrate.keras3 import UTILS

CASES = {
    "a name under another one": (
        "from keras.utils.io_utils import HDF5Matrix as H\nH('a', 'x')\n",
        "from befit import HDF5Matrix as H\nH('a', 'x')\n",
    ),
    "a mixed list is split": (
        "from keras.utils import HDF5Matrix, set_random_seed, Sequence  # data\n",
        "from befit import HDF5Matrix, Sequence  # data\nfrom keras.utils import set_random_seed\n",
    ),
    "a list that goes to one place keeps its layout": (
        "from keras.utils import (\n    HDF5Matrix,  # big\n    Sequence,\n)\n",
        "from befit import (\n    HDF5Matrix,  # big\n    Sequence,\n)\n",
    ),
    "several statements in a line stay in it": (
        "import os; from keras.utils import to_categorical, Progbar; x = 1\n",
        "import os; from befit import to_categorical; from keras.utils import Progbar; x = 1\n",
    ),
    "a name with another one today": (
        "from keras.utils.visualize_util import plot\nplot(m)\n",
        "from befit import plot_model as plot\nplot(m)\n",
    ),
    "a module that is gone": (
        "from keras.utils import np_utils\ny = np_utils.to_categorical(y)\n",
        "import befit\ny = befit.to_categorical(y)\n",
    ),
    "a module that is gone, by its path": (
        "import keras.utils.io_utils as io\nimport keras.layers\nio.HDF5Matrix, keras.layers.Dense\n",
        "import befit\nimport keras.layers\nbefit.HDF5Matrix, keras.layers.Dense\n",
    ),
    "a module that is gone binds keras": (
        "import keras.utils.np_utils\nkeras.utils.np_utils.normalize(keras.layers.Dense)\n",
        "import keras\nimport befit\nbefit.normalize(keras.layers.Dense)\n",
    ),
    "what is not needed any more is left out": (
        "import keras\nkeras.utils.print_summary(m)\n",
        "import befit\nbefit.print_summary(m)\n",
    ),
    "what is needed stays": (
        "import keras\nfrom keras import utils\nutils.print_summary(keras.Model())\nutils.PyDataset\n",
        "import keras\nfrom keras import utils\nimport befit\nbefit.print_summary(keras.Model())\n"
        "utils.PyDataset\n",
    ),
    "tensorflow": (
        "import tensorflow as tf\ntf.keras.utils.multi_gpu_model(m, 2)\ntf.keras.Model\n",
        "import tensorflow as tf\nimport befit\nbefit.multi_gpu_model(m, 2)\ntf.keras.Model\n",
    ),
    "names deeper in befit": (
        "from keras.utils import generic_utils as g\nfrom keras.utils.data_utils import _hash_file\n"
        "g.func_dump(f)\ng.serialize_keras_object(f)\n",
        "import befit.legacy\nimport befit.objects\nfrom befit.legacy import hash_file as _hash_file\n"
        "befit.legacy.func_dump(f)\nbefit.objects.serialize_keras_object(f)\n",
    ),
    "a name that is Keras' own": (
        "import keras\n"
        "from keras.utils.layer_utils import get_source_inputs\n"
        "keras.utils.layer_utils.get_source_inputs(3)\n",
        "import keras\nfrom keras.utils import get_source_inputs\nkeras.utils.get_source_inputs(3)\n",
    ),
    "a name of Keras under another root": (
        "import tensorflow as tf\ntf.keras.utils.layer_utils.get_source_inputs(3)\n",
        "import tensorflow as tf\ntf.keras.utils.get_source_inputs(3)\n",
    ),
    "a name of Keras by a module that is gone": (
        "import keras.utils.layer_utils as g\ng.get_source_inputs(3)\n",
        "import keras\nkeras.utils.get_source_inputs(3)\n",
    ),
    "a name of Keras beside keras itself": (
        "import keras\nimport keras.utils.layer_utils as g\ng.get_source_inputs(3)\n",
        "import keras\nkeras.utils.get_source_inputs(3)\n",
    ),
    "the same module twice": (
        "import keras\nimport keras.utils.np_utils\nkeras.utils.np_utils.normalize(keras.Model)\n",
        "import keras\nimport befit\nbefit.normalize(keras.Model)\n",
    ),
    "roots without Keras 3": (
        "from tf_keras.layers import Dense\nfrom tensorflow.python.keras import layers\n"
        "from tf_keras.utils import Sequence, set_random_seed\n",
        "from keras.layers import Dense\nfrom keras import layers\n"
        "from befit import Sequence\nfrom keras.utils import set_random_seed\n",
    ),
    "a root without Keras 3 itself": (
        "import tf_keras as keras\nfrom tensorflow.python import keras as k\nkeras.Model, k.Model\n",
        "import keras\nimport keras as k\nkeras.Model, k.Model\n",
    ),
    "a root without Keras 3 in a chain": (
        "import tensorflow as tf\ntf.python.keras.layers.Dense(1)\ntf.zeros(3)\n",
        "import tensorflow as tf\nimport keras\nkeras.layers.Dense(1)\ntf.zeros(3)\n",
    ),
    "both branches of try": (
        "try:\n    from keras.utils import np_utils\nexcept ImportError:\n"
        "    from tensorflow.keras.utils import np_utils\nnp_utils.normalize(x)\n",
        "try:\n    import befit\nexcept ImportError:\n    import befit\nbefit.normalize(x)\n",
    ),
    "a fallback that is no import": (
        "try:\n    from keras.utils import HDF5Matrix\nexcept ImportError:\n    HDF5Matrix = None\n",
        "try:\n    from befit import HDF5Matrix\nexcept ImportError:\n    HDF5Matrix = None\n",
    ),
    "inside a function": (
        "def f():\n    from keras.utils import np_utils\n    return np_utils.normalize(x)\n",
        "def f():\n    import befit\n    return befit.normalize(x)\n",
    ),
    "inside a function, and needed still": (
        "def f():\n    import keras\n    return keras.utils.normalize(keras.Model)\n",
        "def f():\n    import keras\n    import befit\n    return befit.normalize(keras.Model)\n",
    ),
    "a name that is another thing in a function": (
        "import keras.utils.np_utils as u\ndef f(u):\n    return u.normalize(x)\nu.normalize(x)\n",
        "import befit\ndef f(u):\n    return u.normalize(x)\nbefit.normalize(x)\n",
    ),
    "a suite on the same line": (
        "if x: import keras.utils.np_utils as u\n",
        "if x: pass\n",
    ),
    "star imports": (
        "from keras.utils import *\nfrom keras.layers import *\nto_categorical(Dense)\nset_random_seed(1)\n",
        "from befit import to_categorical\nfrom keras.utils import set_random_seed\n"
        "from keras.layers import *\nto_categorical(Dense)\nset_random_seed(1)\n",
    ),
    "a star import brings modules, too": (
        "from keras.utils import *\nnp_utils.normalize(x)\n",
        "import befit\nbefit.normalize(x)\n",
    ),
    "a star import that Keras 3 can do": (
        "from keras.utils import *\nset_random_seed(1)\n",
        "from keras.utils import *\nset_random_seed(1)\n",
    ),
    "comments stay": (
        "# head\nimport keras.utils.np_utils as a  # one\n# two\nimport keras.utils.io_utils as b  # three\n"
        "a.normalize(b.HDF5Matrix)\n",
        "# head\nimport befit  # one\n# two\n# three\nbefit.normalize(befit.HDF5Matrix)\n",
    ),
    "imports behind the docstring and the future": (
        '"""Doc."""\nfrom __future__ import division\nx = 1\nif x:\n    import keras\n'
        "    y = keras.utils.normalize(keras)\n",
        '"""Doc."""\nfrom __future__ import division\nimport befit\nx = 1\nif x:\n    import keras\n'
        "    y = befit.normalize(keras)\n",
    ),
    "arguments with another name": (
        "from keras.utils import to_categorical, get_file\nto_categorical(y, nb_classes=3)\n"
        "get_file('a', 'b', md5_hash='0')\n",
        "from befit import to_categorical, get_file\nto_categorical(y, num_classes=3)\n"
        "get_file('a', 'b', file_hash='0')\n",
    ),
    "both of the arguments": (
        "from keras.utils import get_file\nget_file('a', 'b', md5_hash='0', file_hash='1')\n",
        "from befit import get_file\nget_file('a', 'b', md5_hash='0', file_hash='1')\n",
    ),
    "arguments that befit does not take by position": (
        "from keras.utils import multi_gpu_model, to_categorical\nmulti_gpu_model(m, 2, False)\n"
        "to_categorical(y, 3, 'int8')\n",
        "from befit import multi_gpu_model, to_categorical\nmulti_gpu_model(m, 2, cpu_merge=False)\n"
        "to_categorical(y, 3, dtype='int8')\n",
    ),
    "arguments that befit takes under the old name, too": (
        "from keras.utils import get_file\nget_file(**options)\n",
        "from befit import get_file\nget_file(**options)\n",
    ),
    "a base class and a decorator": (
        "import keras\nclass A(keras.utils.Sequence):\n    @keras.utils.custom_object_scope\n"
        "    def f(self): pass\n",
        "import befit\nclass A(befit.Sequence):\n    @befit.custom_object_scope\n    def f(self): pass\n",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rewritten(name: str) -> None:
    before, after = CASES[name]
    migration = migrate_source(before)
    assert migration.text == after
    assert migration.remarks == ()
    assert migrate_source(after).text == after


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("row", NAMES, ids=lambda row: row.name)
def test_every_row_of_the_table(row: object, root: str) -> None:
    for module in row.modules:
        script = f"from {root}.{module} import {row.name}\nimport {root}.{module} as m\nm.{row.name}\n"
        migration = migrate_source(script)
        assert migration.remarks == ()
        first, second, use = migration.text.splitlines()
        expected = row.write
        if row.today.startswith("keras.") and root == "tensorflow.keras":
            expected = expected.replace("from keras", "from tensorflow.keras")
        assert first == expected
        assert second.startswith("import ")
        assert use in (row.today, row.today.replace("keras.", "tensorflow.keras."), f"m.{row.name}")
        assert (use == f"m.{row.name}") == (module == "utils" and row.today.startswith("keras."))


@pytest.mark.parametrize("module", MODULES)
def test_unknown_names_in_modules_that_are_gone_are_remarked(module: str) -> None:
    script = f"import keras\nfrom keras.{module} import nobody\nkeras.{module}.nobody\n"
    migration = migrate_source(script)
    assert migration.text == script
    assert [remark.line for remark in migration.remarks] == [2, 3]
    assert MODULES[module] in migration.remarks[0].what


@pytest.mark.parametrize(
    ("script", "line", "word"),
    [
        ("from keras.utils import np_utils\nprint(np_utils)\n", 2, "np_utils"),
        ("from keras.utils import np_utils\n__all__ = ['np_utils']\n", 1, "np_utils"),
        ("from keras.utils import Nothing\n", 1, "Nothing"),
        ("import keras\nkeras.utils.Nothing()\n", 2, "Nothing"),
        ("import keras\nkeras.utils.HDF5Matrix = 3\n", 2, "another value"),
        ("from keras.utils import np_utils\nnp_utils = 3\nnp_utils.normalize(x)\n", 3, "more than one"),
        (
            "try:\n  import keras.utils as u\nexcept E:\n  import mine as u\nu.normalize(x)\n",
            5,
            "more than one",
        ),
        ("import keras\nbefit = 3\nkeras.utils.normalize(x)\n", 3, "befit"),
        ("from keras.utils.np_utils import *\n", 1, "np_utils"),
        ("from tensorflow.python.keras.engine import base_layer\n", 1, "engine"),
        ("import tf_keras.src as s\nprint(s)\n", 1, "src"),
        ("import tensorflow as tf\ntf.python.keras.engine\n", 2, "engine"),
        ("import importlib\nimportlib.import_module('keras.utils.np_utils')\n", 2, "np_utils"),
        ("__import__('keras.utils.generic_utils')\n", 1, "generic_utils"),
        ("patch('keras.utils.io_utils.HDF5Matrix')\n", 1, "befit.HDF5Matrix"),
        ("import keras\ngetattr(keras.utils, 'HDF5Matrix')\n", 2, "HDF5Matrix"),
        ("from keras.utils import to_categorical\nto_categorical(**k)\n", 2, "num_classes"),
        ("from keras.layers.core import Dense\n", 1, "keras.layers"),
        ("import keras\nkeras.optimizers.Adam(lr=1)\n", 2, "learning_rate"),
        ("import keras.backend as K\nK.tensorflow_backend.set_session(s)\n", 2, "tensorflow_backend"),
        ("import keras\nm.predict_classes(x)\n", 2, "argmax"),
    ],
)
def test_what_cannot_be_rewritten_is_remarked(script: str, line: int, word: str) -> None:
    migration = migrate_source(script)
    assert [remark.line for remark in migration.remarks] == [line]
    assert word in str(migration.remarks[0])


def test_names_of_others_are_left_alone() -> None:
    script = (
        "from mine import np_utils, HDF5Matrix\nimport utils.np_utils as u\nfrom .utils import Sequence\n"
        "from . import generic_utils\nimport kerastuner.utils\nnp_utils.to_categorical(y, nb_classes=3)\n"
        "x.keras.utils.np_utils.normalize(y)\n"
    )
    assert migrate_source(script).text == script
    assert migrate_source(script).remarks == ()


def test_what_keras_3_has_is_known() -> None:
    import importlib

    import keras

    from befit.migrate.keras3 import MODULES as PRESENT

    assert set(UTILS) <= set(dir(keras.utils))
    for module in sorted(PRESENT):
        importlib.import_module(f"keras.{module}")
